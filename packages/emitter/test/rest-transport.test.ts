import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Posthorn, PosthornError, type RestOptions } from '../src/index.ts'
import { API_KEY, sendProblem, startApi, type TestApi } from './start-api.ts'

let api: TestApi
let posthorn: Posthorn

beforeEach(async () => {
  api = await startApi()
  posthorn = connect()
})
afterEach(async () => {
  await posthorn.close()
  await api.stop()
})

const connect = (options: Partial<RestOptions> = {}) =>
  new Posthorn({ url: api.url, apiKey: API_KEY, retryDelayMs: 1, ...options })

const errorOf = async (promise: Promise<unknown>): Promise<PosthornError> => {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(PosthornError)
  return error as PosthornError
}

describe('one event', () => {
  test('is posted with the key and resolves with what the API answered', async () => {
    const message = await posthorn.emit('pay_info.paid', { order_num: '1', name: 'Zoë' }, { owner: 'acme' })
    expect(message).toEqual({
      id: expect.stringMatching(/^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$/),
      owner: 'acme',
      type: 'pay_info.paid',
      timestamp: '2026-01-01T00:00:00.000Z',
      deliveries: 2,
    })
    expect(api.requests).toHaveLength(1)
    expect(api.requests[0]).toMatchObject({
      path: '/v1/messages',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
    })
    expect(JSON.parse(api.requests[0]!.body)).toEqual({
      id: message.id,
      owner: 'acme',
      type: 'pay_info.paid',
      data: { order_num: '1', name: 'Zoë' },
    })
  })

  test('keeps an id and a time of the application, a Date as ISO 8601', async () => {
    const options = { owner: 'acme', id: 'order-1-paid', timestamp: new Date(0) }
    const message = await posthorn.emit('pay_info.paid', {}, options)
    expect(message).toMatchObject({ id: 'order-1-paid', timestamp: '1970-01-01T00:00:00.000Z' })
  })

  test('goes to a base path', async () => {
    const client = connect({ url: `${api.url}/hooks/` })
    await client.emit('a', {}, { owner: 'acme' })
    expect(api.requests[0]!.path).toBe('/hooks/v1/messages')
    await client.close()
  })

  test('uses the same connection as the one before', async () => {
    for (let i = 0; i < 5; i += 1) await posthorn.emit('a', { i }, { owner: 'acme' })
    expect(api.sockets.size).toBe(1)
  })
})

describe('data that is not JSON is refused before anything is sent:', () => {
  const circular: Record<string, unknown> = {}
  circular.self = circular
  test.each([
    ['undefined', undefined],
    ['a function', () => 1],
    ['a circle', circular],
    ['a BigInt', { n: 1n }],
  ])('%s', async (_, data) => {
    const error = await errorOf(posthorn.emit('a', data, { owner: 'acme' }))
    expect(error).toMatchObject({ code: 'invalid_event', retryable: false })
    expect(api.requests).toHaveLength(0)
  })

  test.each([
    ['no owner', {}],
    ['an empty owner', { owner: '' }],
    ['an empty id', { owner: 'acme', id: '' }],
    ['an invalid Date', { owner: 'acme', timestamp: new Date('never') }],
    ['no options', undefined],
  ])('%s', async (_, options) => {
    const error = await errorOf(posthorn.emit('a', {}, options as { owner: string }))
    expect(error.code).toBe('invalid_event')
    expect(api.requests).toHaveLength(0)
  })
})

describe('retries', () => {
  test.each([408, 425, 429, 500, 502, 503, 504])(
    '%i is retried under the same id until it passes',
    async (status) => {
      let failures = 2
      api.interfere((_, response) => {
        if (failures-- > 0) sendProblem(response, status, 'try_again', 'Not now.')
      })
      const message = await posthorn.emit('a', {}, { owner: 'acme' })
      expect(api.requests.map((request) => request.messages[0]!.id)).toEqual([
        message.id,
        message.id,
        message.id,
      ])
      expect(api.requests[0]!.body).toBe(api.requests[2]!.body)
    },
  )

  test('an answer lost after acceptance does not double the event', async () => {
    let lose = true
    api.interfere(({ messages }, _, socket) => {
      if (!lose) return
      lose = false
      for (const message of messages) api.accepted.set(message.id, message)
      socket.destroy()
    })
    const message = await posthorn.emit('a', { n: 1 }, { owner: 'acme' })
    expect(api.requests).toHaveLength(2)
    expect([...api.accepted.keys()]).toEqual([message.id])
  })

  test('a connection cut within the answer is retried', async () => {
    let cut = true
    api.interfere((_, response, socket) => {
      if (!cut) return
      cut = false
      response.writeHead(202, { 'content-length': '100' })
      response.write('{"id":', () => socket.destroy())
      return new Promise((resolve) => socket.on('close', resolve))
    })
    await posthorn.emit('a', {}, { owner: 'acme' })
    expect(api.requests).toHaveLength(2)
  })

  test('end after the given number, with the last failure', async () => {
    const client = connect({ retries: 2 })
    api.interfere((_, response) =>
      sendProblem(response, 503, 'database_unavailable', 'The database is away.'),
    )
    const error = await errorOf(client.emit('a', {}, { owner: 'acme' }))
    expect(api.requests).toHaveLength(3)
    expect(error).toMatchObject({
      code: 'database_unavailable',
      status: 503,
      retryable: true,
      messageId: api.requests[0]!.messages[0]!.id,
      problem: { detail: 'The database is away.' },
    })
    await client.close()
  })

  test.each([
    [400, 'invalid_body'],
    [401, 'unauthorized'],
    [404, 'owner_not_found'],
    [409, 'idempotency_conflict'],
    [413, 'payload_too_large'],
    [422, 'unknown_event_type'],
  ])('%i is final', async (status, code) => {
    api.interfere((_, response) => sendProblem(response, status, code, 'No.'))
    const error = await errorOf(posthorn.emit('a', {}, { owner: 'acme' }))
    expect(error).toMatchObject({ code, status, retryable: false })
    expect(api.requests).toHaveLength(1)
  })

  test('a Retry-After beyond the deadline fails at once', async () => {
    const client = connect({ deadlineMs: 5_000 })
    api.interfere((_, response) => {
      sendProblem(response, 503, 'overloaded', 'Later.', { 'retry-after': '3600' })
    })
    expect(await errorOf(client.emit('a', {}, { owner: 'acme' }))).toMatchObject({
      status: 503,
      retryable: true,
    })
    expect(api.requests).toHaveLength(1)
    await client.close()
  })

  test('a request without an answer times out and is retried', async () => {
    const client = connect({ timeoutMs: 50 })
    let hang = true
    api.interfere((_, __, socket) => {
      if (!hang) return
      hang = false
      return new Promise((resolve) => socket.on('close', resolve))
    })
    await client.emit('a', {}, { owner: 'acme' })
    expect(api.requests).toHaveLength(2)
    await client.close()
  })

  test('an answer that trickles is cut by the total timeout', async () => {
    const client = connect({ timeoutMs: 100, retries: 0 })
    api.interfere((_, response, socket) => {
      response.writeHead(202)
      const timer = setInterval(() => response.write(' '), 20)
      return new Promise<void>((resolve) =>
        socket.on('close', () => {
          clearInterval(timer)
          resolve()
        }),
      )
    })
    expect(await errorOf(client.emit('a', {}, { owner: 'acme' }))).toMatchObject({
      code: 'timeout',
      retryable: true,
    })
    await client.close()
  })

  test('the deadline ends one emit with all its retries, and names the id', async () => {
    const client = connect({ deadlineMs: 100, timeoutMs: 10_000, retries: 1000 })
    api.interfere((_, __, socket) => new Promise((resolve) => socket.on('close', resolve)))
    const error = await errorOf(client.emit('a', {}, { owner: 'acme', id: 'mine' }))
    expect(error).toMatchObject({ code: 'timeout', retryable: true, messageId: 'mine' })
    await client.close()
  })

  test('nobody listening is a network_error that names no key', async () => {
    const { url } = api
    await api.stop()
    const client = new Posthorn({ url, apiKey: API_KEY, retries: 1, retryDelayMs: 1 })
    const error = await errorOf(client.emit('a', {}, { owner: 'acme' }))
    expect(error).toMatchObject({ code: 'network_error', retryable: true })
    expect(error.message).toContain('ECONNREFUSED')
    expect(JSON.stringify(error) + String(error.stack)).not.toContain(API_KEY)
    await client.close()
    api = await startApi()
  })
})

describe('an answer that is not one of Posthorn', () => {
  test.each<[string, number, string]>([
    ['HTML with 200', 200, '<html>welcome</html>'],
    ['JSON without an id', 202, '{"ok":true}'],
    ['nothing', 204, ''],
  ])('is not taken for an acceptance: %s', async (_, status, body) => {
    api.interfere((__, response) => response.writeHead(status).end(body))
    expect(await errorOf(posthorn.emit('a', {}, { owner: 'acme' }))).toMatchObject({
      code: 'unexpected_response',
      status,
    })
  })

  test('a redirect is not followed', async () => {
    api.interfere((_, response) => response.writeHead(307, { location: '/elsewhere' }).end())
    expect(await errorOf(posthorn.emit('a', {}, { owner: 'acme' }))).toMatchObject({
      code: 'http_error',
      status: 307,
    })
    expect(api.requests).toHaveLength(1)
  })
})

describe('options that cannot work are refused when the client is made:', () => {
  test.each<[string, Record<string, unknown> | undefined]>([
    ['none', undefined],
    ['no url', { apiKey: 'k' }],
    ['no URL', { url: 'localhost 7676', apiKey: 'k' }],
    ['another protocol', { url: 'ftp://127.0.0.1', apiKey: 'k' }],
    ['credentials in the URL', { url: 'http://user:hunter2@127.0.0.1', apiKey: 'k' }],
    ['no key', { url: 'http://127.0.0.1' }],
    ['a key with a line break', { url: 'http://127.0.0.1', apiKey: 'hunter2\nx' }],
    ['a negative timeout', { url: 'http://127.0.0.1', apiKey: 'k', timeoutMs: -1 }],
    ['no number of retries', { url: 'http://127.0.0.1', apiKey: 'k', retries: Number.NaN }],
    ['a queue without a URL', { queue: {} }],
    ['a queue with two', { queue: { redisUrl: 'redis://a', databaseUrl: 'postgres://b' } }],
    ['a Redis URL that is none', { queue: { redisUrl: 'http://:hunter2@a' } }],
    ['a database URL that is none', { queue: { databaseUrl: 'hunter2' } }],
  ])('%s', (_, options) => {
    let error: unknown
    try {
      new Posthorn(options as never)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({ name: 'PosthornError', code: 'invalid_options' })
    expect(String(error)).not.toContain('hunter2')
  })
})

describe('close', () => {
  test('waits for what is under way, refuses what comes later, and leaves no socket', async () => {
    const emitted = Promise.all(
      Array.from({ length: 50 }, (_, i) => posthorn.emit('a', { i }, { owner: 'acme' })),
    )
    const closed = posthorn.close()
    expect((await errorOf(posthorn.emit('late', {}, { owner: 'acme' }))).code).toBe('closed')
    await closed
    expect(await emitted).toHaveLength(50)
    await expect.poll(() => api.sockets.size).toBe(0)
    await posthorn.close()
  })

  test('happens by itself with await using', async () => {
    const client = connect()
    await client.emit('a', {}, { owner: 'acme' })
    await client[Symbol.asyncDispose]()
    expect((await errorOf(client.emit('a', {}, { owner: 'acme' }))).code).toBe('closed')
  })
})

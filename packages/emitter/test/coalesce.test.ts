import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Posthorn } from '../src/index.ts'
import { API_KEY, sendProblem, startApi, type TestApi } from './start-api.ts'

let api: TestApi
let posthorn: Posthorn

beforeEach(async () => {
  api = await startApi()
  posthorn = new Posthorn({ url: api.url, apiKey: API_KEY, retryDelayMs: 1 })
})
afterEach(async () => {
  await posthorn.close()
  await api.stop()
})

/** Holds every request back until open() is called. */
function holdRequests() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  api.interfere(() => opened)
  return open
}

const emitMany = (count: number, type = 'a') =>
  Array.from({ length: count }, (_, i) => posthorn.emit(type, { i }, { owner: 'acme' }))
const sizes = () => api.requests.map((request) => request.messages.length)

describe('concurrent emits', () => {
  test('go at once while fewer than four requests are under way, then gather into one', async () => {
    const open = holdRequests()
    const emitted = emitMany(304)
    await expect.poll(() => api.requests.length).toBe(4)
    open()
    const messages = await Promise.all(emitted)
    expect(sizes()).toEqual([1, 1, 1, 1, 300])
    expect(api.requests[4]!.path).toBe('/v1/messages/batch')
    expect(new Set(messages.map((message) => message.id)).size).toBe(304)
    expect(
      [...api.accepted.values()].map((message) => (message.data as { i: number }).i).sort((a, b) => a - b),
    ).toEqual(Array.from({ length: 304 }, (_, i) => i))
  })

  test('each resolve with their own message', async () => {
    const messages = await Promise.all(
      Array.from({ length: 100 }, (_, i) => posthorn.emit(`type.${i}`, {}, { owner: 'acme', id: `id-${i}` })),
    )
    messages.forEach((message, i) => {
      expect(message).toMatchObject({ id: `id-${i}`, type: `type.${i}` })
    })
  })

  test('never share a request of more than 1,000 messages', async () => {
    const open = holdRequests()
    const emitted = emitMany(2_504)
    await expect.poll(() => api.requests.length).toBe(4)
    open()
    await Promise.all(emitted)
    expect(sizes().slice(4)).toEqual([1000, 1000, 500])
  })

  test('never share a request of more than 200 KiB, and a longer one goes alone', async () => {
    const open = holdRequests()
    const big = 'x'.repeat(90 * 1024)
    const huge = 'x'.repeat(230 * 1024)
    const emitted = [
      ...emitMany(4),
      ...[big, big, big, huge, big].map((text) => posthorn.emit('a', { text }, { owner: 'acme' })),
    ]
    await expect.poll(() => api.requests.length).toBe(4)
    open()
    await Promise.all(emitted)
    expect(sizes().slice(4).sort()).toEqual([1, 1, 1, 2])
    for (const { body, messages } of api.requests) {
      if (messages.length > 1) expect(Buffer.byteLength(body)).toBeLessThan(201 * 1024)
    }
  })
})

describe('in a batch', () => {
  test('one bad event rejects only its own emit', async () => {
    const results = await Promise.allSettled([
      ...emitMany(10),
      ...emitMany(1, 'refused.type'),
      ...emitMany(10),
    ])
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(20)
    expect(results[10]).toMatchObject({
      status: 'rejected',
      reason: { code: 'unknown_event_type', status: 422, retryable: false },
    })
    expect(sizes().sort()).toEqual([1, 1, 1, 1, 17])
  })

  test('only the events that failed for now are sent again', async () => {
    let first = true
    api.interfere(({ messages }, response) => {
      if (messages.length === 1 || !first) return
      first = false
      const data = messages.map((message, i) => {
        if (i === 3) return { status: 503, error: { status: 503, code: 'busy' } }
        api.accepted.set(message.id, message)
        return { status: 202, message }
      })
      response.writeHead(200).end(JSON.stringify({ data }))
    })
    await Promise.all(emitMany(14))
    const batch = api.requests.find((request) => request.messages.length === 10)!
    const timesSent = batch.messages.map(
      ({ id }) =>
        api.requests.filter((request) => request.messages.some((message) => message.id === id)).length,
    )
    expect(timesSent).toEqual([1, 1, 1, 2, 1, 1, 1, 1, 1, 1])
  })

  test.each([400, 413, 422])(
    'an event for which the whole request is refused with %i rejects alone',
    async (status) => {
      api.interfere(({ messages }, response) => {
        if (messages.some((message) => message.type === 'bad'))
          sendProblem(response, status, 'bad_data', 'No.')
      })
      const results = await Promise.allSettled([...emitMany(30), ...emitMany(1, 'bad'), ...emitMany(30)])
      expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(60)
      expect(results[30]).toMatchObject({ status: 'rejected', reason: { code: 'bad_data', status } })
      expect(api.accepted.size).toBe(60)
    },
  )

  test('a wrong key rejects every emit, each with its own id', async () => {
    const client = new Posthorn({ url: api.url, apiKey: 'wrong' })
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => client.emit('a', {}, { owner: 'acme', id: `id-${i}` })),
    )
    results.forEach((result, i) => {
      expect(result).toMatchObject({ reason: { code: 'unauthorized', messageId: `id-${i}` } })
    })
    await client.close()
  })

  test('an answer of another length is not taken for an acceptance', async () => {
    api.interfere(({ messages }, response) => {
      const data = messages.slice(1).map((message) => ({ status: 202, message }))
      if (messages.length > 1) response.writeHead(200).end(JSON.stringify({ data }))
    })
    const results = await Promise.allSettled(emitMany(8))
    expect(results.slice(4).map((result) => result.status)).toEqual(Array(4).fill('rejected'))
    expect(results[7]).toMatchObject({ reason: { code: 'unexpected_response' } })
  })
})

describe('while the platform is away', () => {
  test('events that waited past their deadline are answered', async () => {
    const client = new Posthorn({ url: api.url, apiKey: API_KEY, deadlineMs: 100, retries: 0 })
    const open = holdRequests()
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) => client.emit('a', { i }, { owner: 'acme' })),
    )
    expect(results.every((result) => result.status === 'rejected' && result.reason.code === 'timeout')).toBe(
      true,
    )
    open()
    await client.close()
  })

  test('more than 64 MiB of waiting events are refused as overloaded', async () => {
    const open = holdRequests()
    const text = 'x'.repeat(1024 * 1024)
    const emitted = Array.from({ length: 70 }, () => posthorn.emit('a', { text }, { owner: 'acme' }))
    const overloaded = await Promise.race(
      emitted.map((one) =>
        one.then(
          () => undefined,
          (error: unknown) => error,
        ),
      ),
    )
    expect(overloaded).toMatchObject({ code: 'overloaded', retryable: true })
    open()
    const results = await Promise.allSettled(emitted)
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(4 + 63)
  })
})

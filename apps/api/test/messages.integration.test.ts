import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi
let ownerId: string

beforeAll(async () => {
  api = await startTestApi()
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.paid' } })
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.refunded' } })
  ownerId = (await api.request('POST', '/v1/owners', { body: { uid: 'acme' } })).body.id
  for (const path of ['a', 'b']) {
    await api.request('POST', '/v1/owners/acme/endpoints', {
      body: { url: `https://example.com/${path}`, eventTypes: ['pay_info.paid'] },
    })
  }
})
afterAll(() => api.close())

const emit = (body: unknown, headers: Record<string, string> = {}) =>
  api.request('POST', '/v1/messages', { body, headers })
const count = async (table: string) =>
  Number((await api.store.pool.query(`SELECT count(*) FROM ${table}`)).rows[0].count)
const payload = async (id: string) => {
  const { text } = await api.request('GET', `/v1/messages/${id}`)
  return text.slice(text.indexOf('"payload":') + '"payload":'.length, -1)
}

it('answers 202 with the message, committed with a delivery for each endpoint that subscribes', async () => {
  const answer = await emit({ owner: 'acme', type: 'pay_info.paid', data: { order_num: '1' } })
  expect(answer.status).toBe(202)
  expect(answer.body).toEqual({
    id: expect.stringMatching(/^msg_[0-9a-z]{26}$/),
    owner: ownerId,
    type: 'pay_info.paid',
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    deliveries: 2,
  })
  const { body } = await api.request('GET', `/v1/deliveries?message=${answer.body.id}`)
  expect(body.data).toHaveLength(2)
  expect(body.data[0]).toMatchObject({
    message: answer.body.id,
    owner: ownerId,
    state: 'pending',
    attempts: 0,
  })
})

it('takes the owner by id, and answers 0 deliveries where nobody subscribes', async () => {
  const answer = await emit({ owner: ownerId, type: 'pay_info.refunded', data: null })
  expect(answer.body).toMatchObject({ owner: ownerId, deliveries: 0 })
})

it.each([
  ['12345678901234567890', '12345678901234567890'],
  ['{"n" : 1e400,\n "m":[ -0.0, 1.10 ]}', '{"n":1e400,"m":[-0.0,1.10]}'],
  ['{"a":1, "a":2}', '{"a":1,"a":2}'],
  ['{"t":"a  b\\u00e9\\/ \\"x\\" é"}', '{"t":"a  b\\u00e9\\/ \\"x\\" é"}'],
  ['null', 'null'],
  [' "text" ', '"text"'],
  ['[]', '[]'],
  ['{"data":{"data":1}}', '{"data":{"data":1}}'],
])('keeps the bytes of data as given, without white space: %s', async (data, kept) => {
  const { body } = await emit(`{"owner":"acme","type":"pay_info.paid", "data" :${data}}`)
  expect(await payload(body.id)).toBe(
    `{"type":"pay_info.paid","timestamp":"${body.timestamp}","data":${kept}}`,
  )
})

it('takes the last of duplicate data members, whatever way its name is written', async () => {
  const { body } = await emit('{"data":1,"owner":"acme","type":"pay_info.paid","d\\u0061ta":{"x": 2}}')
  expect(await payload(body.id)).toMatch(/"data":\{"x":2\}\}$/)
})

it('keeps a given timestamp, in UTC', async () => {
  const { body } = await emit({
    owner: 'acme',
    type: 'pay_info.paid',
    data: 1,
    timestamp: '2026-01-31T23:30:00.1234-01:00',
  })
  expect(body.timestamp).toBe('2026-02-01T00:30:00.123Z')
})

it.each(['header', 'body'])(
  'emitting again under a key in the %s is the same message and the same answer',
  async (where) => {
    const event = { owner: 'acme', type: 'pay_info.paid', data: { order: where } }
    const again = () =>
      where === 'header' ? emit(event, { 'idempotency-key': 'order-1' }) : emit({ ...event, id: 'order-2' })
    const first = await again()
    const messages = await count('messages')
    const second = await again()
    expect(first.status).toBe(202)
    expect(first.headers.get('idempotent-replayed')).toBeNull()
    expect(second.status).toBe(202)
    expect(second.text).toBe(first.text)
    expect(second.headers.get('idempotent-replayed')).toBe('true')
    expect(await count('messages')).toBe(messages)
  },
)

it('another event under a key that was used is 409 idempotency_conflict, and emits nothing', async () => {
  const event = { owner: 'acme', type: 'pay_info.paid', data: 1, id: 'order-3' }
  const first = await emit(event)
  const messages = await count('messages')
  for (const other of [{ data: 2 }, { type: 'pay_info.refunded' }]) {
    const answer = await emit({ ...event, ...other })
    expect(answer).toMatchObject({ status: 409, body: { code: 'idempotency_conflict' } })
    expect(answer.body.detail).toContain(first.body.id)
  }
  expect(await count('messages')).toBe(messages)
})

it('64 emits at once under one key make one message', async () => {
  const event = { owner: 'acme', type: 'pay_info.paid', data: 'x', id: 'order-4' }
  const answers = await Promise.all(Array.from({ length: 64 }, () => emit(event)))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]))
  expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
})

it('a batch gives each message its own result, in order', async () => {
  const good = { owner: 'acme', type: 'pay_info.paid', data: { n: 1 } }
  const items = [
    JSON.stringify(good),
    '{"owner":"acme","type":"pay_info.paid","data":{"n": 12345678901234567890}}',
    JSON.stringify({ ...good, owner: 'nobody' }),
    JSON.stringify({ ...good, type: 'pay_info.payd' }),
    JSON.stringify({ ...good, type: 'a b' }),
    JSON.stringify({ ...good, dta: 1 }),
    JSON.stringify({ ...good, timestamp: '2026-02-30T00:00:00Z' }),
    '{"owner":"acme","type":"pay_info.paid","data":{"__proto__":1}}',
    `{"owner":"acme","type":"pay_info.paid","data":${'['.repeat(5_000)}${']'.repeat(5_000)}}`,
    JSON.stringify({ ...good, data: 'x'.repeat(262_143) }),
    '7',
    'null',
    JSON.stringify({ ...good, id: 'batch-1' }),
    JSON.stringify({ ...good, id: 'batch-1' }),
    JSON.stringify({ ...good, id: 'batch-1', data: 2 }),
  ]
  const { status, body } = await api.request('POST', '/v1/messages/batch', {
    body: `{"messages":[${items}]}`,
  })
  expect(status).toBe(200)
  const results: { status: number; message?: { id: string }; error?: { code: string } }[] = body.data
  expect(results.map(({ status, error }) => [status, error?.code])).toEqual([
    [202, undefined],
    [202, undefined],
    [422, 'unknown_owner'],
    [422, 'unknown_event_type'],
    [422, 'invalid_event_type'],
    [422, 'unknown_field'],
    [422, 'validation_failed'],
    [422, 'forbidden_key'],
    [422, 'payload_too_deep'],
    [413, 'payload_too_large'],
    [422, 'validation_failed'],
    [422, 'validation_failed'],
    [202, undefined],
    [202, undefined],
    [409, 'idempotency_conflict'],
  ])
  expect(results[12]!.message!.id).toBe(results[13]!.message!.id)
  expect(await payload(results[1]!.message!.id)).toMatch(/"data":\{"n":12345678901234567890\}\}$/)
})

it('a batch takes data nested as deeply as a single message does', async () => {
  const nested = (depth: number) =>
    `{"owner":"acme","type":"pay_info.paid","data":${'['.repeat(depth)}${']'.repeat(depth)}}`
  expect((await emit(nested(63))).status).toBe(202)
  expect((await emit(nested(64))).status).toBe(422)
  const { body } = await api.request('POST', '/v1/messages/batch', {
    body: `{"messages":[${nested(63)},${nested(64)}]}`,
  })
  expect(body.data.map(({ status }: { status: number }) => status)).toEqual([202, 422])
})

it('a batch of 1,000 is accepted at once, one of 1,001 or of none is refused', async () => {
  const message = (n: number) => ({ owner: 'acme', type: 'pay_info.paid', data: { n } })
  const batch = (length: number) => ({ messages: Array.from({ length }, (_, n) => message(n)) })
  const { body } = await api.request('POST', '/v1/messages/batch', { body: batch(1_000) })
  expect(body.data.filter(({ status }: { status: number }) => status === 202)).toHaveLength(1_000)
  const { body: last } = await api.request('GET', `/v1/messages/${body.data[999].message.id}`)
  expect(last.payload.data).toEqual({ n: 999 })
  const tooLarge = await api.request('POST', '/v1/messages/batch', { body: batch(1_001) })
  expect(tooLarge).toMatchObject({ status: 422, body: { code: 'batch_too_large' } })
  expect(tooLarge.body.detail).toContain('messages must be a list of 1 to 1000 messages')
  for (const wrong of [batch(0), {}, { messages: 1 }]) {
    const answer = await api.request('POST', '/v1/messages/batch', { body: wrong })
    expect(answer).toMatchObject({ status: 422, body: { code: 'validation_failed' } })
  }
})

it('a batch over 4 MiB is 413 and names the limit', async () => {
  const answer = await api.request('POST', '/v1/messages/batch', { body: ' '.repeat(4 * 1024 * 1024 + 1) })
  expect(answer).toMatchObject({ status: 413, body: { code: 'payload_too_large' } })
  expect(answer.body.detail).toContain('4194304 bytes')
})

it('a batch takes no Idempotency-Key header', async () => {
  const answer = await api.request('POST', '/v1/messages/batch', {
    body: { messages: [{ owner: 'acme', type: 'pay_info.paid', data: 1 }] },
    headers: { 'idempotency-key': 'x' },
  })
  expect(answer).toMatchObject({ status: 422, body: { code: 'invalid_idempotency_key' } })
})

it('lists messages newest first, page by page, narrowed by owner, event type and time', async () => {
  await api.request('POST', '/v1/owners', { body: { uid: 'lister' } })
  const ids: string[] = []
  for (let n = 0; n < 5; n += 1) {
    const type = n === 2 ? 'pay_info.refunded' : 'pay_info.paid'
    ids.unshift((await emit({ owner: 'lister', type, data: n })).body.id)
  }
  const seen: string[] = []
  let path = '/v1/messages?owner=lister&limit=2'
  for (let page = 0; page < 3; page += 1) {
    const { body } = await api.request('GET', path)
    for (const { id } of body.data) seen.push(id)
    expect(body.next === null).toBe(page === 2)
    path = `/v1/messages?owner=lister&limit=2&cursor=${body.next}`
  }
  expect(seen).toEqual(ids)

  const { body: refunded } = await api.request('GET', '/v1/messages?owner=lister&eventType=pay_info.refunded')
  expect(refunded.data.map(({ id }: { id: string }) => id)).toEqual([ids[2]])
  const { createdAt } = (await api.request('GET', `/v1/messages/${ids[4]}`)).body
  const { body: before } = await api.request('GET', `/v1/messages?owner=lister&before=${createdAt}`)
  expect(before.data).toEqual([])
  const { body: after } = await api.request('GET', `/v1/messages?owner=lister&after=${createdAt}`)
  expect(after.data).toHaveLength(5)
})

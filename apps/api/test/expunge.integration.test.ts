import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

const CANARY = 'canary-of-a-payload'
let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
  await api.request('POST', '/v1/event-types', { body: { name: 'a' } })
  for (const uid of ['acme', 'globex']) {
    await api.request('POST', '/v1/owners', { body: { uid } })
    const body = { url: 'https://example.com/', eventTypes: ['a'] }
    await api.request('POST', `/v1/owners/${uid}/endpoints`, { body })
  }
})
afterAll(() => api.close())

const post = (path: string, body?: object) => api.request('POST', path, { ...(body && { body }) })
const get = (path: string) => api.request('GET', path)

async function emit(owner = 'acme', headers: Record<string, string> = {}) {
  const body = { owner, type: 'a', data: { text: CANARY } }
  const answer = await api.request('POST', '/v1/messages', { body, headers })
  expect(answer.status, answer.text).toBe(202)
  return answer
}

it('a message is shown without its payload, with the time when it went, and its deliveries are cancelled', async () => {
  const { id } = (await emit()).body
  expect((await get(`/v1/messages/${id}`)).body).toMatchObject({
    payload: { data: { text: CANARY } },
    expungedAt: null,
  })
  const answer = await post(`/v1/messages/${id}/expunge`)
  expect(answer.status, answer.text).toBe(200)
  expect(answer.body).toMatchObject({ id, type: 'a', deliveries: 1, expungedAt: expect.stringMatching(/Z$/) })
  expect((await post(`/v1/messages/${id}/expunge`)).body).toEqual(answer.body)
  expect((await get(`/v1/messages/${id}`)).body).toEqual({ ...answer.body, payload: null })
  expect((await get('/v1/messages?owner=acme')).body.data).toContainEqual(answer.body)

  const [delivery] = (await get(`/v1/deliveries?message=${id}`)).body.data
  expect(delivery).toMatchObject({ state: 'cancelled', dueAt: null })
  const retried = await post(`/v1/deliveries/${delivery.id}/retry`)
  expect(retried.status).toBe(409)
  expect(retried.body).toMatchObject({
    code: 'message_expunged',
    detail: expect.stringContaining('Emit the event anew'),
  })
})

it('the same event under the same key is the same message still', async () => {
  const key = { 'idempotency-key': 'order-7' }
  const first = await emit('acme', key)
  await post(`/v1/messages/${first.body.id}/expunge`)
  const second = await emit('acme', key)
  expect(second.body).toEqual(first.body)
  expect(second.headers.get('idempotent-replayed')).toBe('true')
})

it('of an owner and of a time', async () => {
  const theirs = (await emit('globex')).body.id
  await emit()
  const answer = await post('/v1/messages/expunge', { owner: 'acme' })
  expect(answer.status, answer.text).toBe(200)
  expect(answer.body.done).toBe(true)
  expect(answer.body.messages).toBeGreaterThan(0)
  expect((await post('/v1/messages/expunge', { owner: 'acme' })).body).toEqual({
    messages: 0,
    cancelled: 0,
    done: true,
  })
  expect((await get(`/v1/messages/${theirs}`)).body.expungedAt).toBeNull()
  const before = new Date(Date.now() + 60_000).toISOString()
  expect((await post('/v1/messages/expunge', { before, owner: 'acme' })).body.messages).toBe(0)
  expect((await post('/v1/messages/expunge', { before: '2020-01-01T00:00:00Z' })).body.messages).toBe(0)
  expect((await post('/v1/messages/expunge', { before })).body).toEqual({
    messages: 1,
    cancelled: 1,
    done: true,
  })
})

it.each<[object, string]>([
  [{}, 'validation_failed'],
  [{ owner: 'nobody' }, 'unknown_owner'],
  [{ before: 'yesterday' }, 'validation_failed'],
  [{ owners: 'acme' }, 'unknown_field'],
])('expunging %j is refused', async (body, code) => {
  const answer = await post('/v1/messages/expunge', body)
  expect(answer.status, answer.text).toBe(422)
  expect(answer.body.code).toBe(code)
})

it('a message that is not there cannot be expunged', async () => {
  for (const id of ['msg_01m89dh5pxejw9erxsjcvr3zr1', 'nothing', 'own_01m89dh5pxejw9erxsjcvr3zr1']) {
    expect((await post(`/v1/messages/${id}/expunge`)).status).toBe(404)
  }
})

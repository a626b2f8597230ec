import { type DatabaseProxy, startProxy } from '@posthorn/testkit'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Answer, startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi
let proxy: DatabaseProxy

beforeAll(async () => {
  api = await startTestApi({
    databaseUrl: async (url) => {
      proxy = await startProxy(url)
      return proxy.url
    },
  })
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.paid' } })
  await api.request('POST', '/v1/owners', { body: { uid: 'acme' } })
})
afterAll(async () => {
  await api.close()
  await proxy.close()
})

const message = { owner: 'acme', type: 'pay_info.paid', data: 1 }
const emit = (id: string) => api.request('POST', '/v1/messages', { body: { ...message, id } })

function expectUnavailable(answer: Answer): void {
  expect({ status: answer.status, code: answer.body?.code }).toEqual({
    status: 503,
    code: 'database_unavailable',
  })
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
  // Nothing of the inside gets out: no address, no user, no statement.
  expect(answer.text).not.toMatch(/127\.0\.0\.1|ECONN|SELECT|postgres:/)
}

it('while the database is away every route is 503 with Retry-After, and it recovers by itself', async () => {
  const { key } = await api.createKey({ name: 'app', role: 'admin' })
  await proxy.cut()
  expectUnavailable(await emit('while-away'))
  expectUnavailable(
    await api.request('POST', '/v1/messages/batch', { body: { messages: [message, message] } }),
  )
  expectUnavailable(await api.request('GET', '/v1/owners'))
  expectUnavailable(await api.request('POST', '/v1/owners', { body: { uid: 'x' } }))
  expectUnavailable(await api.request('DELETE', '/v1/owners/acme'))
  expectUnavailable(
    await api.request('POST', '/v1/owners/acme/endpoints', {
      body: { url: 'https://example.com', eventTypes: ['pay_info.paid'] },
    }),
  )
  expectUnavailable(await api.request('GET', '/v1/deliveries'))
  expectUnavailable(await api.request('DELETE', '/v1/event-types/pay_info.paid'))
  expectUnavailable(await api.request('GET', '/readyz'))
  expectUnavailable(await api.request('GET', '/v1/owners', { key }))
  expect((await api.request('GET', '/healthz')).status).toBe(200)
  // Both are looked up: neither is told from the other by the step that it leaves out.
  expectUnavailable(await api.request('GET', '/v1/owners', { key: null }))
  expectUnavailable(await api.request('GET', '/v1/owners', { key: 'wrong' }))

  await proxy.restore()
  expect((await emit('while-away')).status).toBe(202)
  expect((await api.request('GET', '/readyz')).body).toEqual({ status: 'ready' })
  expect((await api.request('GET', '/v1/owners', { key })).status).toBe(200)
})

it('cut in the middle of emits: none is 202 without being there, and repeating them doubles none', async () => {
  const ids = Array.from({ length: 200 }, (_, n) => `cut-${n}`)
  const emits = ids.map(emit)
  await Promise.race(emits)
  await proxy.cut()
  const answers = await Promise.all(emits)
  expect(answers.every(({ status }) => status === 202 || status === 503)).toBe(true)
  await proxy.restore()
  const taken = answers.filter(({ status }) => status === 202).map(({ body }) => body.id)
  for (const id of taken) expect((await api.request('GET', `/v1/messages/${id}`)).status).toBe(200)

  const again = await Promise.all(ids.map(emit))
  expect(again.every(({ status }) => status === 202)).toBe(true)
  expect(new Set(again.map(({ body }) => body.id))).toHaveProperty('size', 200)
  const { rows } = await api.store.pool.query(
    "SELECT count(*)::int AS n FROM idempotency_keys WHERE key LIKE 'cut-%'",
  )
  expect(rows[0].n).toBe(200)
  for (const [at, { status, body }] of answers.entries())
    if (status === 202) expect(again[at]!.body.id).toBe(body.id)
})

it('the server ends all connections: the next request works or is 503, never anything else', async () => {
  await api.store.pool
    .query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    )
    .catch(() => {})
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => emit(`ended-${n}`)))
  for (const { status } of answers) expect([202, 503]).toContain(status)
  await expect.poll(async () => (await emit('ended-0')).status).toBe(202)
})

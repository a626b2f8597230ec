import { decodeId } from '@posthorn/contracts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { API_KEY, startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

const list = (key: string | null) => api.request('GET', '/v1/owners', { key })

it('a missing key and a wrong one are 401 with the same text', async () => {
  const answers = await Promise.all([
    list(null),
    list('wrong'),
    list(`${API_KEY}x`),
    list(API_KEY.slice(0, -1)),
    list('phk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'),
    api.request('GET', '/v1/owners', { key: null, headers: { authorization: `Basic ${API_KEY}` } }),
    api.request('GET', '/v1/owners', { key: null, headers: { authorization: API_KEY } }),
    api.request('GET', '/v1/owners', {
      key: null,
      headers: { authorization: `Bearer ${'x'.repeat(5_000)}` },
    }),
  ])
  for (const answer of answers) {
    expect(answer).toMatchObject({ status: 401, body: { code: 'unauthorized' } })
    expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="posthorn"')
    expect(answer.text).toBe(answers[0]!.text)
  }
})

it('the key is asked for before the body is read', async () => {
  const answer = await api.request('POST', '/v1/messages', { key: null, body: '{' })
  expect(answer.status).toBe(401)
})

it('every route under /v1 asks for a key, every other one is open', async () => {
  const { body } = await api.request('GET', '/openapi.json', { key: null })
  for (const [path, operations] of Object.entries(body.paths as Record<string, object>)) {
    for (const method of Object.keys(operations)) {
      const answer = await api.request(method.toUpperCase(), path.replaceAll(/\{\w+\}/g, 'x'), { key: null })
      expect([path, method, answer.status === 401]).toEqual([path, method, path.startsWith('/v1/')])
    }
  }
})

it('a key of the database lets in, until it is revoked or has expired', async () => {
  const { key, id } = await api.createKey({ name: 'shop', role: 'admin' })
  expect(key).toMatch(/^phk_[A-Za-z0-9_-]{43}$/)
  expect((await list(key)).status).toBe(200)
  const { rows } = await api.store.pool.query('SELECT hash, last_used_at FROM api_keys')
  expect(rows[0].hash).toHaveLength(32)
  expect(rows[0].last_used_at).toBeInstanceOf(Date)
  expect(JSON.stringify(rows)).not.toContain(key)
  await api.store.prisma.apiKey.updateMany({ data: { revokedAt: new Date() } })
  await expect.poll(async () => (await list(key)).status, { timeout: 10_000 }).toBe(401)
  expect(id).toMatch(/^key_/)

  const expired = await api.createKey({ name: 'old', role: 'admin' })
  await api.store.prisma.apiKey.updateMany({ where: { name: 'old' }, data: { expiresAt: new Date(0) } })
  expect((await list(expired.key)).status).toBe(401)
})

it('a key with the role emitter may emit and nothing else', async () => {
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.paid' } })
  await api.request('POST', '/v1/owners', { body: { uid: 'acme' } })
  const { key } = await api.createKey({ name: 'app', role: 'emit' })
  const message = { owner: 'acme', type: 'pay_info.paid', data: 1 }
  expect((await api.request('POST', '/v1/messages', { key, body: message })).status).toBe(202)
  expect(
    (await api.request('POST', '/v1/messages/batch', { key, body: { messages: [message] } })).status,
  ).toBe(200)
  for (const path of ['/v1/owners', '/v1/messages', '/v1/deliveries', '/v1/event-types']) {
    expect(await api.request('GET', path, { key })).toMatchObject({
      status: 403,
      body: { code: 'forbidden' },
    })
  }
})

it('the database keeps role and owner together, and knows no other roles', async () => {
  const { id } = await api.createKey({ name: 'odd', role: 'admin' })
  const uuid = decodeId('key', id)!
  const owner = await api.store.prisma.owner.findFirst()
  for (const change of [{ ownerId: owner!.id }, { role: 'owner' }, { role: 'auditor' }]) {
    await expect(api.store.prisma.apiKey.update({ where: { id: uuid }, data: change })).rejects.toThrow(
      /api_keys_(role|owner)/,
    )
  }
})

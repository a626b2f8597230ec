import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
  await api.request('POST', '/v1/event-types', { body: { name: 'a.b' } })
  for (const uid of ['acme', 'globex']) await api.request('POST', '/v1/owners', { body: { uid } })
})
afterAll(() => api.close())

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const endpoint = {
  url: 'https://example.com/?token=t0p',
  eventTypes: ['a.b'],
  headers: { 'x-key': 'h1dden' },
}

async function entries(query = '', key?: string) {
  const { body } = await api.request('GET', `/v1/audit-log${query}`, key === undefined ? {} : { key })
  return body.data
}

it('has the names of what was given and none of the values', async () => {
  const body = { ...endpoint, secret: SECRET, description: 'canary' }
  await api.request('POST', '/v1/owners/acme/endpoints', { body })
  const { key } = await api.createKey({ name: 'shop', role: 'emit' })
  const { token } = (await api.request('POST', '/v1/owners/acme/tokens', { body: {} })).body
  const [tokenEntry, keyEntry, endpointEntry] = await entries()
  expect(endpointEntry).toMatchObject({
    actor: { kind: 'root', id: null, name: null, owner: null },
    resource: { type: 'endpoint', id: expect.stringMatching(/^ep_/) },
    members: ['url', 'eventTypes', 'headers', 'secret', 'description'],
  })
  expect(keyEntry).toMatchObject({ resource: { type: 'api-key' }, members: ['name', 'role'] })
  expect(tokenEntry).toMatchObject({ resource: { type: 'owner-token' } })
  const { rows } = await api.store.pool.query('SELECT * FROM audit_log')
  const kept = JSON.stringify([rows, await entries()])
  for (const value of [SECRET, key, token, 't0p', 'h1dden', 'canary']) expect(kept).not.toContain(value)
})

it('an owner reads of its own things only, and nothing of who runs the platform', async () => {
  const admin = await api.createKey({ name: 'the operator', role: 'admin' })
  const acme = await api.createKey({ name: 'portal', role: 'owner', owner: 'acme' })
  const made = await api.request('POST', '/v1/owners/acme/endpoints', { key: admin.key, body: endpoint })
  await api.request('POST', '/v1/owners/globex/endpoints', { key: admin.key, body: endpoint })
  const path = `/v1/owners/acme/endpoints/${made.body.id}`
  await api.request('PATCH', path, { key: acme.key, body: { description: 'x' } })

  const [byOwner, byOperator, ...others] = await entries('', acme.key)
  expect(byOwner).toMatchObject({
    actor: { kind: 'key', id: acme.id, name: 'portal', owner: made.body.owner },
    address: '127.0.0.1',
    resource: { id: made.body.id },
    members: ['description'],
  })
  expect(byOperator).toMatchObject({
    actor: { kind: 'key', id: null, name: null, owner: null },
    address: null,
    resource: { id: made.body.id },
  })
  for (const { owner } of others) expect(owner).toBe(made.body.owner)
  expect(await entries(`?actor=${acme.id}`)).toEqual([byOwner])
  expect(await entries(`?owner=acme&actor=${acme.id}`)).toEqual([byOwner])
  expect((await entries(`?actor=${admin.id}`)).length).toBe(2)
})

it('is narrowed to a time, and read page by page', async () => {
  const all = await entries()
  expect(all.length).toBeGreaterThan(3)
  expect(await entries('?before=2020-01-01T00:00:00Z')).toEqual([])
  expect(await entries('?after=2020-01-01T00:00:00Z')).toEqual(all)
  const pages = []
  for (let next = ''; next !== null; ) {
    const { body } = await api.request('GET', `/v1/audit-log?limit=2${next && `&cursor=${next}`}`)
    pages.push(...body.data)
    next = body.next
  }
  expect(pages).toEqual(all)
})

it('cannot be changed in the database', async () => {
  for (const statement of [
    "UPDATE audit_log SET actor = 'nobody'",
    'DELETE FROM audit_log',
    'DELETE FROM audit_log WHERE false',
    'TRUNCATE audit_log',
  ]) {
    await expect(api.store.pool.query(statement)).rejects.toThrow('audit_log is append-only')
  }
})

it('a dry run, and what was done before, change nothing', async () => {
  const made = await api.request('POST', '/v1/owners/acme/endpoints', { body: endpoint })
  const path = `/v1/owners/acme/endpoints/${made.body.id}/replays`
  const body = { after: '2020-01-01T00:00:00Z', state: 'all' }
  const headers = { 'idempotency-key': 'once' }
  const { id } = await api.createKey({ name: 'x', role: 'emit' })
  expect((await api.request('POST', path, { body, headers })).status).toBe(202)
  expect((await api.request('DELETE', `/v1/api-keys/${id}`)).status).toBe(204)
  const before = await entries()
  expect((await api.request('POST', path, { body: { ...body, dryRun: true } })).status).toBe(200)
  expect((await api.request('POST', path, { body, headers })).status).toBe(202)
  expect((await api.request('DELETE', `/v1/api-keys/${id}`)).status).toBe(204)
  expect(await entries()).toEqual(before)
})

it('what cannot be written into it is not answered as done', async () => {
  await api.store.pool.query('ALTER TABLE audit_log RENAME TO audit_log_away')
  const answer = await api.request('POST', '/v1/owners', { body: { uid: 'unlogged' } })
  expect(answer).toMatchObject({ status: 500, body: { code: 'internal_error' } })
  expect(answer.text).not.toContain('unlogged')
  await api.store.pool.query('ALTER TABLE audit_log_away RENAME TO audit_log')
  expect((await api.request('PATCH', '/v1/owners/unlogged', { body: { name: 'x' } })).status).toBe(200)
})

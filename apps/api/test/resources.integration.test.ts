import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
  await post('/v1/event-types', { name: 'pay_info.paid' })
})
afterAll(() => api.close())

const post = (path: string, body: unknown) => api.request('POST', path, { body })
const patch = (path: string, body: unknown) => api.request('PATCH', path, { body })
const get = (path: string) => api.request('GET', path)
const remove = (path: string) => api.request('DELETE', path)

it('event types: made, read, changed, listed by name, deleted', async () => {
  const made = await post('/v1/event-types', { name: 'invoice.sent', description: 'An invoice\nwas sent.' })
  expect(made.status).toBe(201)
  expect(made.body).toMatchObject({ name: 'invoice.sent', description: 'An invoice\nwas sent.' })
  expect((await get('/v1/event-types/invoice.sent')).body).toEqual(made.body)
  const taken = await post('/v1/event-types', { name: 'invoice.sent' })
  expect(taken).toMatchObject({ status: 409, body: { code: 'event_type_taken' } })
  const changed = await patch('/v1/event-types/invoice.sent', { description: null })
  expect(changed).toMatchObject({ status: 200, body: { description: null } })
  const { body } = await get('/v1/event-types')
  // Posthorn's own are among them: see operational-events.integration.test.ts.
  const names = (types: { name: string }[]) => types.map(({ name }) => name)
  expect(names(body.data.filter(({ operational }: { operational: boolean }) => !operational))).toEqual([
    'invoice.sent',
    'pay_info.paid',
  ])
  const first = (await get('/v1/event-types?limit=4')).body
  const second = (await get(`/v1/event-types?limit=4&cursor=${first.next}`)).body
  expect(names([...first.data, ...second.data])).toEqual(names(body.data))
  expect(second.next).toBeNull()
  expect((await remove('/v1/event-types/invoice.sent')).status).toBe(204)
  expect(await remove('/v1/event-types/invoice.sent')).toMatchObject({
    status: 404,
    body: { code: 'not_found' },
  })
})

it('an event type that an endpoint subscribes to cannot be deleted', async () => {
  await post('/v1/event-types', { name: 'in.use' })
  await post('/v1/owners', { uid: 'subscriber' })
  const { body: endpoint } = await post('/v1/owners/subscriber/endpoints', {
    url: 'https://example.com',
    eventTypes: ['in.use'],
  })
  const answer = await remove('/v1/event-types/in.use')
  expect(answer).toMatchObject({ status: 409, body: { code: 'event_type_in_use' } })
  await remove(`/v1/owners/subscriber/endpoints/${endpoint.id}`)
  expect((await remove('/v1/event-types/in.use')).status).toBe(204)
})

it('owners: made, read by id and uid, changed, listed newest first', async () => {
  const made = await post('/v1/owners', { uid: 'acme', name: 'Acme' })
  expect(made.status).toBe(201)
  expect(made.body).toMatchObject({ id: expect.stringMatching(/^own_/), uid: 'acme', name: 'Acme' })
  expect((await get('/v1/owners/acme')).body).toEqual(made.body)
  expect((await get(`/v1/owners/${made.body.id}`)).body).toEqual(made.body)
  expect(await post('/v1/owners', { uid: 'acme' })).toMatchObject({
    status: 409,
    body: { code: 'uid_taken' },
  })
  await post('/v1/owners', { uid: 'umbrella' })
  expect(await patch('/v1/owners/umbrella', { uid: 'acme' })).toMatchObject({
    status: 409,
    body: { code: 'uid_taken' },
  })
  const changed = await patch('/v1/owners/umbrella', { uid: 'wayne', name: 'Wayne' })
  expect(changed.body).toMatchObject({ uid: 'wayne', name: 'Wayne' })
  expect((await get('/v1/owners/umbrella')).status).toBe(404)
  const { body } = await get('/v1/owners?limit=2')
  expect(body.data.map(({ uid }: { uid: string }) => uid)).toEqual(['wayne', 'acme'])
})

it('two owners made at once under one uid: one is made, the other is 409', async () => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => post('/v1/owners', { uid: 'race' })))
  expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array(7).fill(409)])
})

it('deleting an owner takes its endpoints, frees its uid and keeps the log', async () => {
  await post('/v1/owners', { uid: 'leaver' })
  const { body: endpoint } = await post('/v1/owners/leaver/endpoints', {
    url: 'https://example.com',
    eventTypes: ['pay_info.paid'],
  })
  const { body: message } = await post('/v1/messages', { owner: 'leaver', type: 'pay_info.paid', data: 1 })
  expect((await remove('/v1/owners/leaver')).status).toBe(204)
  expect((await get('/v1/owners/leaver')).status).toBe(404)
  expect((await get(`/v1/owners/${endpoint.owner}/endpoints`)).status).toBe(404)
  const emitted = await post('/v1/messages', { owner: 'leaver', type: 'pay_info.paid', data: 1 })
  expect(emitted).toMatchObject({ status: 422, body: { code: 'unknown_owner' } })
  const { body } = await get(`/v1/deliveries?owner=${endpoint.owner}`)
  expect(body.data).toMatchObject([{ message: message.id, endpoint: endpoint.id }])
  const { rows } = await api.store.pool.query('SELECT deleted_at, uid FROM endpoints WHERE owner_id = $1', [
    (
      await api.store.pool.query(
        'SELECT owner_id FROM endpoints WHERE deleted_at IS NOT NULL ORDER BY id DESC LIMIT 1',
      )
    ).rows[0].owner_id,
  ])
  expect(rows).toMatchObject([{ deleted_at: expect.any(Date), uid: null }])
  expect((await post('/v1/owners', { uid: 'leaver' })).status).toBe(201)
})

const newEndpoint = {
  url: 'https://EXAMPLE.com/hooks',
  eventTypes: ['pay_info.paid'],
  description: 'Books',
  uid: 'books',
  headers: { 'X-Tenant': 'acme', authorization: 'Bearer theirs' },
  inFlightMax: 3,
  attemptTimeoutMs: 5_000,
  rateLimit: 50,
  retryPolicy: { delaysMs: [1_000, 60_000] },
}

it('endpoints: made with a secret that only the creation and …/secret show', async () => {
  await post('/v1/owners', { uid: 'eve' })
  const made = await post('/v1/owners/eve/endpoints', newEndpoint)
  expect(made.status).toBe(201)
  const { secret, ...rest } = made.body
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  expect(rest).toMatchObject({
    ...newEndpoint,
    url: 'https://example.com/hooks',
    id: expect.stringMatching(/^ep_/),
    enabled: true,
    disabledAt: null,
    disabledReason: null,
  })
  const health = {
    state: 'closed',
    since: null,
    reason: null,
    failingSince: null,
    blockedUntil: null,
    waiting: 0,
  }
  for (const ref of ['books', rest.id])
    expect((await get(`/v1/owners/eve/endpoints/${ref}`)).body).toEqual({ ...rest, health })
  expect((await get('/v1/owners/eve/endpoints')).body).toEqual({ data: [rest], next: null })
  const shown = await get('/v1/owners/eve/endpoints/books/secret')
  expect(shown.body).toEqual({ secret, createdAt: expect.stringMatching(/Z$/), previous: [] })
  expect(shown.headers.get('cache-control')).toBe('no-store')
})

it('endpoints: certificates of their own are shown, and the key is not', async () => {
  const fixture = (name: string) =>
    readFileSync(new URL(`../../../packages/egress/test/fixtures/${name}.pem`, import.meta.url), 'utf8')
  const [certificate, key] = [fixture('localhost-cert'), fixture('localhost-key')]
  await post('/v1/owners', { uid: 'tls' })
  const endpoint = { url: 'https://example.com', eventTypes: ['pay_info.paid'], uid: 'mutual' }
  const path = '/v1/owners/tls/endpoints/mutual'
  const made = await post('/v1/owners/tls/endpoints', { ...endpoint, tls: { certificate, key } })
  expect(made.body.tls).toEqual({ ca: null, certificate })
  const answers = [made, await get(path), await get('/v1/owners/tls/endpoints')]
  for (const { text } of answers) expect(text).not.toContain('PRIVATE KEY')

  expect((await patch(path, { tls: { ca: certificate } })).body.tls).toEqual({
    ca: certificate,
    certificate: null,
  })
  expect((await patch(path, { description: 'still there' })).body.tls).toMatchObject({ ca: certificate })
  expect((await patch(path, { tls: null })).body.tls).toBeNull()
  const { rows } = await api.store.pool.query('SELECT tls_ca, tls_key FROM endpoints WHERE uid = $1', [
    'mutual',
  ])
  expect(rows).toEqual([{ tls_ca: null, tls_key: null }])

  const refused = await patch(path, { tls: { certificate, key: 'canary' } })
  expect(refused).toMatchObject({
    status: 422,
    body: { code: 'invalid_tls', errors: [{ path: '/tls/key' }] },
  })
  expect(refused.text).not.toContain('canary')
})

it('an endpoint may bring its own secret', async () => {
  const secret = `whsec_${Buffer.alloc(24, 7).toString('base64')}`
  await post('/v1/owners', { uid: 'bring' })
  const made = await post('/v1/owners/bring/endpoints', {
    url: 'https://example.com',
    eventTypes: ['pay_info.paid'],
    secret,
  })
  expect(made.body.secret).toBe(secret)
})

it('endpoints: changed member by member, disabled by request and enabled again', async () => {
  await post('/v1/owners', { uid: 'changer' })
  const path = '/v1/owners/changer/endpoints/books'
  await post('/v1/owners/changer/endpoints', newEndpoint)
  const changed = await patch(path, {
    description: null,
    headers: {},
    inFlightMax: null,
    attemptTimeoutMs: null,
    rateLimit: null,
    retryPolicy: null,
    url: 'https://example.org/',
  })
  expect(changed.body).toMatchObject({
    description: null,
    headers: {},
    inFlightMax: null,
    attemptTimeoutMs: null,
    rateLimit: null,
    retryPolicy: null,
    url: 'https://example.org/',
    uid: 'books',
    eventTypes: ['pay_info.paid'],
  })
  const disabled = await patch(path, { enabled: false })
  expect(disabled.body).toMatchObject({
    enabled: false,
    disabledReason: 'by request',
    disabledAt: expect.any(String),
  })
  expect((await patch(path, { enabled: true })).body).toMatchObject({
    enabled: true,
    disabledReason: null,
    disabledAt: null,
  })
  expect(Date.parse(disabled.body.updatedAt)).toBeGreaterThanOrEqual(Date.parse(changed.body.updatedAt))
  expect(await patch(path, { url: 'http://10.0.0.1/' })).toMatchObject({
    status: 422,
    body: { code: 'url_host_refused' },
  })
  for (const rateLimit of [0, 10_001, 1.5, '50'])
    expect(await patch(path, { rateLimit })).toMatchObject({
      status: 422,
      body: { code: 'validation_failed' },
    })
  expect(await patch(path, { eventTypes: ['no.such'] })).toMatchObject({
    status: 422,
    body: { code: 'unknown_event_type' },
  })
  expect((await patch(path, {})).status).toBe(200)
})

it('endpoints: retried as the platform is set, or by a policy of their own, with the times it leads to', async () => {
  const platform = await get('/v1/retry-policy')
  expect(platform).toMatchObject({
    status: 200,
    body: {
      retryPolicy: { delaysMs: expect.arrayContaining([5_000, 86_400_000]) },
      retrySchedule: expect.arrayContaining([
        { attempt: 1, afterMs: 0, minMs: 0, maxMs: 0 },
        { attempt: 2, afterMs: 5_000, minMs: 4_000, maxMs: 6_000 },
      ]),
    },
  })
  await post('/v1/owners', { uid: 'patient' })
  const path = '/v1/owners/patient/endpoints/books'
  const retryPolicy = { baseMs: 1_000, factor: 2.5, maxMs: 2_000, attempts: 3, jitter: 0 }
  const own = await post('/v1/owners/patient/endpoints', { ...newEndpoint, retryPolicy })
  expect(own.body).toMatchObject({
    retryPolicy,
    retrySchedule: [
      { attempt: 1, afterMs: 0, minMs: 0, maxMs: 0 },
      { attempt: 2, afterMs: 1_000, minMs: 1_000, maxMs: 1_000 },
      { attempt: 3, afterMs: 3_000, minMs: 3_000, maxMs: 3_000 },
    ],
  })
  expect((await patch(path, { description: 'as patient' })).body).toMatchObject({ retryPolicy })
  expect((await patch(path, { retryPolicy: { delaysMs: [] } })).body.retrySchedule).toHaveLength(1)
  expect((await patch(path, { retryPolicy: null })).body).toMatchObject({
    retryPolicy: null,
    retrySchedule: platform.body.retrySchedule,
  })
})

it('an endpoint that is open says so, with what waits; enabling it forgets that and lets go what waits', async () => {
  await post('/v1/owners', { uid: 'ill' })
  const { body: endpoint } = await post('/v1/owners/ill/endpoints', newEndpoint)
  const path = `/v1/owners/ill/endpoints/${endpoint.id}`
  await post('/v1/messages', { owner: 'ill', type: 'pay_info.paid', data: 1 })
  const { pool } = api.store
  const { rows } = await pool.query(
    'SELECT endpoint_id FROM deliveries_pending WHERE endpoint_id IN (SELECT id FROM endpoints WHERE owner_id = (SELECT id FROM owners WHERE uid = $1))',
    ['ill'],
  )
  const endpointId = rows[0].endpoint_id
  await pool.query(
    `INSERT INTO endpoint_health (endpoint_id, version, state, since, reason, failing_since, failures,
      window_attempts, window_failures, openings, probe_at, release_limit, released)
    VALUES ($1, $1, 'open', '2026-11-22T10:00:00Z', 'why', '2026-11-22T09:00:00Z', 5, 0, 0, 1,
      '2099-11-22T10:01:00Z', 0, 0)`,
    [endpointId],
  )
  await pool.query(
    `UPDATE deliveries_pending SET due_at = now() + interval '1 hour', wake_at = now() + interval '2 hours'
    WHERE endpoint_id = $1`,
    [endpointId],
  )
  expect((await get(path)).body.health).toEqual({
    state: 'open',
    since: '2026-11-22T10:00:00.000Z',
    reason: 'why',
    failingSince: '2026-11-22T09:00:00.000Z',
    blockedUntil: '2099-11-22T10:01:00.000Z',
    waiting: 1,
  })
  expect((await patch(path, { enabled: true })).status).toBe(200)
  expect((await get(path)).body.health).toMatchObject({ state: 'closed', waiting: 1 })
  const { rows: due } = await pool.query(
    'SELECT due_at <= now() AND wake_at <= now() AS due FROM deliveries_pending WHERE endpoint_id = $1',
    [endpointId],
  )
  expect(due).toEqual([{ due: true }])
})

it('an endpoint is only found under its own owner, and a deleted one is gone with its uid free', async () => {
  await post('/v1/owners', { uid: 'mine' })
  await post('/v1/owners', { uid: 'other' })
  const { body } = await post('/v1/owners/mine/endpoints', newEndpoint)
  expect((await post('/v1/owners/other/endpoints', newEndpoint)).status).toBe(201)
  expect(await post('/v1/owners/mine/endpoints', newEndpoint)).toMatchObject({
    status: 409,
    body: { code: 'uid_taken' },
  })
  const missing = await get('/v1/owners/other/endpoints/ep_00000000000000000000000000')
  const foreign = await get(`/v1/owners/other/endpoints/${body.id}`)
  expect(foreign.status).toBe(404)
  expect(foreign.text).toBe(missing.text)
  expect((await remove(`/v1/owners/other/endpoints/${body.id}`)).status).toBe(404)
  expect((await get(`/v1/owners/other/endpoints/${body.id}/secret`)).status).toBe(404)

  const { body: spare } = await post('/v1/owners/mine/endpoints', { ...newEndpoint, uid: 'spare' })
  expect((await remove('/v1/owners/mine/endpoints/books')).status).toBe(204)
  expect((await get('/v1/owners/mine/endpoints')).body.data).toMatchObject([{ id: spare.id }])
  expect((await get(`/v1/owners/mine/endpoints/${body.id}`)).status).toBe(404)
  expect((await get(`/v1/owners/mine/endpoints/${body.id}/secret`)).status).toBe(404)
  expect((await patch(`/v1/owners/mine/endpoints/${body.id}`, { enabled: true })).status).toBe(404)
  expect((await post('/v1/owners/mine/endpoints', newEndpoint)).status).toBe(201)
})

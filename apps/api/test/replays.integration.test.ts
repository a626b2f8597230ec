import { decodeId } from '@posthorn/contracts'
import { newDeliveryId } from '@posthorn/store'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

const AFTER = '2026-01-01T00:00:00.000Z'

let api: TestApi
let owners = 0
let uid: string
let endpoint: string
let replays: string

beforeAll(async () => {
  api = await startTestApi()
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.paid' } })
})
afterAll(() => api.close())

beforeEach(async () => {
  uid = `owner-${owners++}`
  await api.request('POST', '/v1/owners', { body: { uid } })
  const made = await api.request('POST', `/v1/owners/${uid}/endpoints`, {
    body: { url: 'https://example.com', eventTypes: ['pay_info.paid'], uid: 'main' },
  })
  endpoint = made.body.id
  replays = `/v1/owners/${uid}/endpoints/main/replays`
})

const get = (path: string) => api.request('GET', path)
const ask = (body: object, headers = {}) =>
  api.request('POST', replays, { body: { after: AFTER, state: 'dead', ...body }, headers })

async function addEnded(state: string, count: number): Promise<void> {
  await api.store.pool.query(
    `INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at)
     SELECT ${newDeliveryId('message')}, $2::delivery_state, message, e.id, e.owner_id, 'pay_info.paid', 3, now()
     FROM endpoints e, (SELECT uuidv7() AS message FROM generate_series(1, $3)) AS m WHERE e.id = $1`,
    [decodeId('ep', endpoint), state, count],
  )
}

describe('asking for a replay', () => {
  it('answers 202 with what was asked for and how many there are', async () => {
    await addEnded('dead', 2)
    await addEnded('delivered', 1)
    const answer = await ask({ before: '2100-01-01T01:00:00+01:00', eventTypes: ['pay_info.paid'] })
    expect(answer).toMatchObject({ status: 202 })
    expect(answer.body).toEqual({
      id: expect.stringMatching(/^rpl_/),
      owner: expect.stringMatching(/^own_/),
      endpoint,
      request: {
        after: AFTER,
        before: '2100-01-01T00:00:00.000Z',
        state: 'dead',
        eventTypes: ['pay_info.paid'],
        perSecond: 100,
      },
      state: 'running',
      total: 2,
      released: 0,
      error: null,
      createdAt: expect.any(String),
      endedAt: null,
    })
    expect((await get(`/v1/replays/${answer.body.id}`)).body).toEqual(answer.body)
  })

  it('as a dry run answers 200 with the count, and leaves no replay', async () => {
    await addEnded('dead', 2)
    await addEnded('skipped', 3)
    await addEnded('delivered', 4)
    const count = async (state: string) => await ask({ state, dryRun: true })
    expect(await count('dead')).toMatchObject({ status: 200, body: { dryRun: true, total: 2 } })
    expect(await count('skipped')).toMatchObject({ body: { total: 3 } })
    expect(await count('all')).toMatchObject({ body: { total: 9 } })
    expect(await count('missing')).toMatchObject({ body: { total: 0 } })
    expect(await ask({ dryRun: true, after: '2100-01-01T00:00:00Z' })).toMatchObject({ body: { total: 0 } })
    expect((await get(replays)).body).toEqual({ data: [], next: null })
  })

  it('counts for missing what was emitted before the endpoint was made', async () => {
    for (const n of [1, 2]) {
      await api.request('POST', '/v1/messages', { body: { owner: uid, type: 'pay_info.paid', data: n } })
    }
    await api.request('POST', `/v1/owners/${uid}/endpoints`, {
      body: { url: 'https://example.com/later', eventTypes: ['pay_info.paid'], uid: 'later' },
    })
    const later = await api.request('POST', `/v1/owners/${uid}/endpoints/later/replays`, {
      body: { after: AFTER, state: 'missing', dryRun: true },
    })
    expect(later.body).toEqual({ dryRun: true, total: 2 })
  })

  it('again under the same key is the same replay, and a conflict where it covers something else', async () => {
    const key = { 'idempotency-key': 'monday' }
    const first = await ask({}, key)
    expect(first.headers.get('idempotent-replayed')).toBeNull()
    const second = await ask({}, key)
    expect(second).toMatchObject({ status: 202, body: first.body })
    expect(second.headers.get('idempotent-replayed')).toBe('true')
    expect(await ask({ state: 'all' }, key)).toMatchObject({
      status: 409,
      body: { code: 'idempotency_conflict' },
    })
    await api.request('POST', `/v1/replays/${first.body.id}/cancel`)
    expect((await ask({}, key)).body).toMatchObject({ id: first.body.id, state: 'cancelled' })
  })

  it('for the same while it runs is 409 and names the one that runs', async () => {
    const { body } = await ask({})
    const answer = await ask({ perSecond: 7 })
    expect(answer).toMatchObject({ status: 409, body: { code: 'replay_under_way' } })
    expect(answer.body.detail).toContain(body.id)
    await api.request('POST', `/v1/replays/${body.id}/cancel`)
    expect((await ask({ perSecond: 7 })).status).toBe(202)
  })

  it('is 409 where the endpoint is disabled, and says how to enable it; a dry run still counts', async () => {
    await api.request('PATCH', `/v1/owners/${uid}/endpoints/main`, { body: { enabled: false } })
    const answer = await ask({})
    expect(answer).toMatchObject({ status: 409, body: { code: 'endpoint_disabled' } })
    expect(answer.body.detail).toMatch(new RegExp(`PATCH /v1/owners/own_\\w+/endpoints/${endpoint}`))
    expect((await ask({ dryRun: true })).status).toBe(200)
  })

  it.each([
    [{ after: undefined }, 'validation_failed', ''],
    [{ state: undefined }, 'validation_failed', ''],
    [{ after: 'yesterday' }, 'validation_failed', '/after'],
    [{ after: '2026-02-30T00:00:00Z' }, 'validation_failed', '/after'],
    [{ before: 7 }, 'validation_failed', '/before'],
    [{ before: AFTER }, 'validation_failed', '/before'],
    [{ before: '2025-01-01T00:00:00Z' }, 'validation_failed', '/before'],
    [{ state: 'pending' }, 'validation_failed', '/state'],
    [{ state: null }, 'validation_failed', '/state'],
    [{ perSecond: 0 }, 'validation_failed', '/perSecond'],
    [{ perSecond: 10_001 }, 'validation_failed', '/perSecond'],
    [{ perSecond: 1.5 }, 'validation_failed', '/perSecond'],
    [{ perSecond: '5' }, 'validation_failed', '/perSecond'],
    [{ eventTypes: [] }, 'validation_failed', '/eventTypes'],
    [{ eventTypes: 'pay_info.paid' }, 'validation_failed', '/eventTypes'],
    [{ eventTypes: ['pay info'] }, 'invalid_event_type', '/eventTypes/0'],
    [{ eventTypes: ['a', 'a'] }, 'validation_failed', '/eventTypes'],
    [{ dryRun: 'yes' }, 'validation_failed', '/dryRun'],
    [{ per_second: 5 }, 'unknown_field', '/per_second'],
  ])('with %j is 422 %s', async (body, code, path) => {
    const answer = await ask(body)
    expect(answer).toMatchObject({ status: 422, body: { code } })
    expect(answer.body.errors.map((error: { path: string }) => error.path)).toContain(path)
    expect((await get(replays)).body.data).toEqual([])
  })

  it('with a key that cannot be one is 422', async () => {
    const answer = await ask({}, { 'idempotency-key': 'two words' })
    expect(answer).toMatchObject({ status: 422, body: { code: 'invalid_idempotency_key' } })
  })

  it('for an endpoint that is missing, deleted or another owner’s is the same 404', async () => {
    const stranger = `owner-${owners++}`
    await api.request('POST', '/v1/owners', { body: { uid: stranger } })
    const body = { after: AFTER, state: 'dead' }
    const paths = [
      `/v1/owners/${uid}/endpoints/none`,
      `/v1/owners/${uid}/endpoints/${endpoint.slice(0, -1)}`,
      `/v1/owners/${stranger}/endpoints/${endpoint}`,
      `/v1/owners/nobody/endpoints/main`,
    ]
    for (const path of paths) {
      for (const answer of [
        await api.request('POST', `${path}/replays`, { body }),
        await get(`${path}/replays`),
      ]) {
        expect(answer).toMatchObject({ status: 404, body: { code: 'not_found' } })
      }
    }
    await api.request('DELETE', `/v1/owners/${uid}/endpoints/main`)
    expect(await ask({})).toMatchObject({ status: 404, body: { code: 'not_found' } })
  })
})

it('a replay that is cancelled stays so', async () => {
  const { body } = await ask({})
  const cancelled = await api.request('POST', `/v1/replays/${body.id}/cancel`)
  expect(cancelled).toMatchObject({ status: 200, body: { state: 'cancelled', endedAt: expect.any(String) } })
  expect((await api.request('POST', `/v1/replays/${body.id}/cancel`)).body).toEqual(cancelled.body)
})

it('a replay whose endpoint is disabled is paused', async () => {
  const { body } = await ask({})
  await api.request('PATCH', `/v1/owners/${uid}/endpoints/main`, { body: { enabled: false } })
  expect((await get(`/v1/replays/${body.id}`)).body.state).toBe('paused')
})

it.each(['rpl_01kamz3q5ve6ybqcw2d8h4r9nt', 'rpl_short', 'main', `rpl_${'z'.repeat(26)}`])(
  'a replay that is missing is 404: %s',
  async (id) => {
    expect(await get(`/v1/replays/${id}`)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect((await api.request('POST', `/v1/replays/${id}/cancel`)).status).toBe(404)
  },
)

it('replays are listed newest first, page by page', async () => {
  const ids: string[] = []
  for (const state of ['dead', 'skipped', 'all']) ids.unshift((await ask({ state })).body.id)
  const first = (await get(`${replays}?limit=2`)).body
  const rest = (await get(`${replays}?limit=2&cursor=${first.next}`)).body
  expect([...first.data, ...rest.data].map(({ id }: { id: string }) => id)).toEqual(ids)
  expect(rest.next).toBeNull()
  expect(await get(`${replays}?limit=2&cursor=x`)).toMatchObject({
    status: 400,
    body: { code: 'invalid_cursor' },
  })
})

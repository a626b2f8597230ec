import { decodeId } from '@posthorn/contracts'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi
let owner = 0
let uid: string
let endpoint: string
let delivery: string

beforeAll(async () => {
  api = await startTestApi()
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.paid' } })
})
afterAll(() => api.close())

beforeEach(async () => {
  uid = `owner-${owner++}`
  await api.request('POST', '/v1/owners', { body: { uid } })
  const made = await api.request('POST', `/v1/owners/${uid}/endpoints`, {
    body: { url: 'https://example.com', eventTypes: ['pay_info.paid'], uid: 'main' },
  })
  endpoint = made.body.id
  await api.request('POST', '/v1/messages', { body: { owner: uid, type: 'pay_info.paid', data: 1 } })
  delivery = (await api.request('GET', `/v1/deliveries?owner=${uid}`)).body.data[0].id
})

const get = (path: string) => api.request('GET', path)
const retry = () => api.request('POST', `/v1/deliveries/${delivery}/retry`)

/** As the worker's statements end a delivery: what is cancelled has no last attempt. */
async function endAs(state: string): Promise<void> {
  await api.store.pool.query(
    `WITH gone AS (DELETE FROM deliveries_pending WHERE id = $1 RETURNING *)
     INSERT INTO deliveries (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at,
       started_at, duration_ms, outcome, response_body)
     SELECT id, $2::delivery_state, message_id, endpoint_id, owner_id, event_type, 3, now(), l.*
     FROM gone LEFT JOIN (VALUES (now(), 7, 'timeout', 'half'::bytea)) AS l ON $2 <> 'cancelled'`,
    [decodeId('dlv', delivery), state],
  )
}

async function addAttempt(number: number, body: Buffer | null, truncated = false): Promise<void> {
  await api.store.pool.query(
    `INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, status, detail,
       connect_ms, first_byte_ms, response_headers, response_body, response_body_truncated)
     VALUES ($1, $2, now(), 12.34, 'rejected', 500, NULL, 1.5, 10.99, '[["x-a","1"]]', $3, $4)`,
    [decodeId('dlv', delivery), number, body, truncated],
  )
}

it('deliveries are listed newest first and narrowed by each filter', async () => {
  const { body: message } = await api.request('POST', '/v1/messages', {
    body: { owner: uid, type: 'pay_info.paid', data: 2 },
  })
  await endAs('dead')
  const ids = async (query: string) =>
    (await get(`/v1/deliveries?${query}`)).body.data.map((d: { id: string }) => d.id)
  const all = await ids(`owner=${uid}`)
  expect(all).toHaveLength(2)
  expect(all[1]).toBe(delivery)
  expect(await ids(`endpoint=${endpoint}`)).toEqual(all)
  expect(await ids(`owner=${uid}&endpoint=main`)).toEqual(all)
  expect(await ids(`owner=${uid}&state=dead`)).toEqual([delivery])
  expect(await ids(`owner=${uid}&state=pending`)).toEqual([all[0]])
  expect(await ids(`message=${message.id}`)).toEqual([all[0]])
  expect(await ids(`owner=${uid}&eventType=pay_info.other`)).toEqual([])
  expect(await ids(`owner=${uid}&before=2026-01-01T00:00:00Z`)).toEqual([])
  const first = (await get(`/v1/deliveries?owner=${uid}&limit=1`)).body
  expect(await ids(`owner=${uid}&limit=1&cursor=${first.next}`)).toEqual([delivery])
  const elsewhere = await get(`/v1/deliveries?endpoint=${endpoint}&limit=1&cursor=${first.next}`)
  expect(elsewhere).toMatchObject({ status: 400, body: { code: 'invalid_cursor' } })
})

it('a delivery shows its state, its due time and when its message was accepted', async () => {
  const { body } = await get(`/v1/deliveries/${delivery}`)
  expect(body).toMatchObject({ id: delivery, endpoint, state: 'pending', attempts: 0, endedAt: null })
  expect(Math.abs(Date.parse(body.createdAt) - Date.parse(body.dueAt))).toBeLessThan(1_000)
})

it('attempts are listed first to last, with the answers as text or, where they are none, in base64 too', async () => {
  await addAttempt(1, Buffer.from('Fehler: ä'))
  await addAttempt(2, Buffer.from('half a character: ä').subarray(0, -1), true)
  await addAttempt(3, Buffer.of(0xff, 0x41))
  await addAttempt(4, null)
  const { body } = await get(`/v1/deliveries/${delivery}/attempts`)
  expect(body.next).toBeNull()
  expect(body.data[0]).toMatchObject({
    id: expect.stringMatching(/^att_/),
    number: 1,
    durationMs: 12,
    outcome: 'rejected',
    status: 500,
    detail: null,
    timings: { connectMs: 1.5, firstByteMs: 10.99, totalMs: 12.34 },
    responseHeaders: [['x-a', '1']],
    responseBody: 'Fehler: ä',
    responseBodyTruncated: false,
  })
  expect(body.data[0]).not.toHaveProperty('responseBodyBase64')
  expect(body.data[1]).toMatchObject({ responseBody: 'half a character: ', responseBodyTruncated: true })
  expect(body.data[2]).toMatchObject({ responseBody: '\ufffdA', responseBodyBase64: '/0E=' })
  expect(body.data[3]).toMatchObject({ responseBody: null })
  const page = (await get(`/v1/deliveries/${delivery}/attempts?limit=3`)).body
  const rest = (await get(`/v1/deliveries/${delivery}/attempts?limit=3&cursor=${page.next}`)).body
  expect(rest.data.map(({ number }: { number: number }) => number)).toEqual([4])
})

it('the attempt that ended a delivery is the last of the list', async () => {
  await addAttempt(1, null)
  await addAttempt(2, null)
  await endAs('dead')
  const first = (await get(`/v1/deliveries/${delivery}/attempts?limit=2`)).body
  expect(first.data.map(({ number }: { number: number }) => number)).toEqual([1, 2])
  const rest = (await get(`/v1/deliveries/${delivery}/attempts?limit=2&cursor=${first.next}`)).body
  expect(rest).toEqual({
    data: [
      {
        ...{ id: expect.stringMatching(/^att_/), number: 3, startedAt: expect.any(String), durationMs: 7 },
        ...{ outcome: 'timeout', status: null, detail: null, timings: { totalMs: 7 }, responseHeaders: null },
        ...{ responseBody: 'half', responseBodyTruncated: false },
      },
    ],
    next: null,
  })
  const ids = [...first.data, ...rest.data].map(({ id }: { id: string }) => id)
  expect(new Set(ids).size).toBe(3)
  await retry()
  const again = (await get(`/v1/deliveries/${delivery}/attempts`)).body.data
  expect(again).toEqual([...first.data, ...rest.data])
})

describe('retry', () => {
  it.each(['dead', 'delivered', 'cancelled'])(
    'makes a delivery that is %s due again, and keeps its attempts',
    async (state) => {
      await addAttempt(1, null)
      await endAs(state)
      const answer = await retry()
      expect(answer).toMatchObject({
        status: 202,
        body: { id: delivery, state: 'pending', attempts: 3, endedAt: null },
      })
      expect(Date.parse(answer.body.dueAt)).toBeLessThanOrEqual(Date.now())
      const attempts = (await get(`/v1/deliveries/${delivery}/attempts`)).body.data
      expect(attempts).toHaveLength(state === 'cancelled' ? 1 : 2)
      expect((await get(`/v1/deliveries?owner=${uid}`)).body.data).toHaveLength(1)
    },
  )

  it('hastens one that waits', async () => {
    await api.store.pool.query(
      "UPDATE deliveries_pending SET due_at = now() + interval '1 day' WHERE id = $1",
      [decodeId('dlv', delivery)],
    )
    expect(Date.parse((await retry()).body.dueAt)).toBeLessThanOrEqual(Date.now())
  })

  it('takes an empty body, with a content type or without', async () => {
    const answer = await api.request('POST', `/v1/deliveries/${delivery}/retry`, {
      headers: { 'content-type': 'application/json' },
    })
    expect(answer.status).toBe(202)
  })

  it('is 409 while an attempt is under way', async () => {
    await api.store.pool.query(
      "UPDATE deliveries_pending SET claim = uuidv7(), lease_until = now() + interval '1 minute' WHERE id = $1",
      [decodeId('dlv', delivery)],
    )
    expect(await retry()).toMatchObject({ status: 409, body: { code: 'attempt_under_way' } })
  })

  it('is 409 where the endpoint is disabled, and says how to enable it', async () => {
    await api.request('PATCH', `/v1/owners/${uid}/endpoints/main`, { body: { enabled: false } })
    const answer = await retry()
    expect(answer).toMatchObject({ status: 409, body: { code: 'endpoint_disabled' } })
    expect(answer.body.detail).toMatch(new RegExp(`PATCH /v1/owners/own_\\w+/endpoints/${endpoint}`))
    await api.request('PATCH', `/v1/owners/${uid}/endpoints/main`, { body: { enabled: true } })
    expect((await retry()).status).toBe(202)
  })

  it('is 409 where the endpoint was deleted', async () => {
    await api.request('DELETE', `/v1/owners/${uid}/endpoints/main`)
    expect(await retry()).toMatchObject({ status: 409, body: { code: 'endpoint_deleted' } })
  })
})

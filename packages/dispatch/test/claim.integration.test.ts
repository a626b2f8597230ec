import { newUuid } from '@posthorn/contracts'
import {
  type AttemptResult,
  claimDeliveries,
  claimDue,
  endDeliveries,
  findDelivery,
  listAttempts,
  makeDue,
  recordAttempts,
  releaseDeliveries,
  resetEndpointHealth,
  saveEndpointHealth,
  takeDue,
} from '@posthorn/store'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { HEALTHY } from '../src/index.ts'
import { type DeliveryPath, startDeliveryPath } from './start-delivery-path.ts'

const LEASE_MS = 60_000
const HOUR_MS = 3_600_000
const TYPE = 'pay_info.paid'

let path: DeliveryPath
/** A delivery that is due and that nobody holds. */
let id: string

beforeAll(async () => {
  path = await startDeliveryPath({ name: 'postgres', queuePrefix: 'unused' })
  await path.addEventTypes(TYPE)
  await path.addEndpoint(await path.addOwner('acme'), 'http://127.0.0.1:1/', [TYPE])
})
beforeEach(async () => {
  const accepted = await path.accept.accept({ owner: 'acme', type: TYPE, data: Buffer.from('{}') })
  if (accepted.kind !== 'accepted') throw new Error(accepted.kind)
  const { rows } = await path.store.pool.query('SELECT id FROM deliveries WHERE message_id = $1', [
    accepted.message.id,
  ])
  id = rows[0].id
  await path.store.pool.query(
    `UPDATE deliveries_pending SET due_at = now() - interval '1 second' WHERE id = $1`,
    [id],
  )
})
afterAll(() => path.close())

/** @returns the claim, where it was given */
async function claim(leaseMs = LEASE_MS): Promise<string | undefined> {
  const uuid = newUuid()
  const claimed = await claimDeliveries(path.store.pool, [id], uuid, leaseMs)
  return claimed.length === 1 ? uuid : undefined
}

/** The lease is over by now. */
async function claimAndExpire(): Promise<string> {
  const uuid = await claim()
  await expireLease()
  return uuid!
}

async function expireLease(): Promise<void> {
  await path.store.pool.query(
    `UPDATE deliveries_pending SET lease_until = now() - interval '1 second' WHERE id = $1`,
    [id],
  )
}

function record(under: string, next: AttemptResult['next'], number = 1): Promise<Set<string>> {
  return recordAttempts(path.store.pool, [
    {
      deliveryId: id,
      claim: under,
      number,
      startedAt: new Date(),
      durationMs: 12.3456,
      timings:
        number === 1 ? { dnsMs: 1, connectMs: 2.004, tlsMs: 3, firstByteMs: 9.999 } : { firstByteMs: 4 },
      outcome: next.state === 'delivered' ? 'delivered' : 'rejected',
      status: next.state === 'delivered' ? 200 : 500,
      responseBodyTruncated: false,
      next,
    },
  ])
}

const delivery = () => findDelivery(path.store.pool, id)
const attempts = async () =>
  (await listAttempts(path.store.pool, id, { limit: 10 })).map(({ status }) => status)

describe('a claim', () => {
  test('is given to one of many that ask at once', async () => {
    const claims = await Promise.all(Array.from({ length: 10 }, () => claim()))
    expect(claims.filter((given) => given !== undefined)).toHaveLength(1)
  })

  test('is not given while another holds it, and is once its lease is over', async () => {
    await claim()
    expect(await claim()).toBeUndefined()
    expect((await takeDue(path.store.pool, 1_000, 0)).map((due) => due.id)).not.toContain(id)
    await expireLease()
    expect(await claim()).toBeDefined()
  })

  test('is given again to the same claim: the answer to it may have been lost', async () => {
    const uuid = newUuid()
    for (const _ of [1, 2]) {
      expect(await claimDeliveries(path.store.pool, [id], uuid, LEASE_MS)).toHaveLength(1)
    }
    expect(await claim()).toBeUndefined()
  })

  test('is not given before the delivery is due', async () => {
    await record((await claim())!, { state: 'pending', delayMs: HOUR_MS })
    expect(await claim()).toBeUndefined()
    expect(await makeDue(path.store.pool, id, 0)).toBe(true)
    // Times are kept in whole milliseconds: it may be due half of one from now.
    await expect.poll(() => claim()).toBeDefined()
  })

  test('is not given for a delivery that has ended', async () => {
    await record((await claim())!, { state: 'delivered' })
    expect(await claim()).toBeUndefined()
  })
})

describe('a claim of what is due', () => {
  const claimAll = async (limit = 1_000) =>
    (await claimDue(path.store.pool, limit, newUuid(), LEASE_MS)).map((claimed) => claimed.id)
  /** As what nobody claimed in time. */
  const wake = () =>
    path.store.pool.query(
      `UPDATE deliveries_pending SET wake_at = now() - interval '1 second' WHERE lease_until IS NULL`,
    )

  test('gives each delivery to one of many that ask at once, with its payload', async () => {
    for (let at = 0; at < 20; at++) {
      await path.accept.accept({ owner: 'acme', type: TYPE, data: Buffer.from(`{"at":${at}}`) })
    }
    await wake()
    const given = await Promise.all(
      Array.from({ length: 10 }, () => claimDue(path.store.pool, 5, newUuid(), LEASE_MS)),
    )
    const all = [...given.flat(), ...(await claimDue(path.store.pool, 1_000, newUuid(), LEASE_MS))]
    expect(new Set(all.map((claimed) => claimed.id)).size).toBe(all.length)
    expect(all.length).toBeGreaterThanOrEqual(21)
    expect(given.every((some) => some.length <= 5)).toBe(true)
    expect(
      all.map(({ payload }) => payload!.toString()).filter((text) => text.includes('"at":')),
    ).toHaveLength(20)
  })

  test('gives what the sweep would find, and nothing else', async () => {
    expect(await claimAll()).not.toContain(id)
    await wake()
    expect(await claimAll()).toContain(id)
    expect(await claimAll()).not.toContain(id)
    await expireLease()
    expect(await claimAll()).toContain(id)
  })

  test('leaves what is not due, and does not hold what its endpoint is not to be sent', async () => {
    await path.store.pool.query(
      `UPDATE deliveries_pending SET due_at = now() + interval '1 hour', wake_at = now() WHERE id = $1`,
      [id],
    )
    expect(await claimAll()).not.toContain(id)
    await path.store.pool.query(`UPDATE deliveries_pending SET due_at = now() WHERE id = $1`, [id])
    const { endpointId } = (await delivery())!
    await saveEndpointHealth(path.store.pool, [
      {
        ...{ endpointId, expected: null, version: newUuid() },
        health: { ...HEALTHY, state: 'open', probeAtMs: Date.now() + HOUR_MS },
      },
    ])
    expect(await claimAll()).not.toContain(id)
    expect((await delivery())!.dueAt!.getTime()).toBeGreaterThan(Date.now() + HOUR_MS / 2)
    await resetEndpointHealth(path.store.pool, endpointId)
  })
})

describe('the attempt that ends a delivery', () => {
  const first = { status: 500, dnsMs: 1, connectMs: 2, tlsMs: 3, firstByteMs: 10, durationMs: 12.35 }
  const last = {
    ...{ status: 200, outcome: 'delivered', responseBodyTruncated: false },
    ...{ dnsMs: null, connectMs: null, tlsMs: null, firstByteMs: 4, durationMs: 12.35 },
  }

  /** What the delivery's row and the log beside it have. */
  async function stored() {
    const { rows } = await path.store.pool.query(
      `SELECT d.outcome, ARRAY (SELECT a.number FROM attempts a WHERE a.delivery_id = d.id ORDER BY 1) AS log
       FROM deliveries d WHERE d.id = $1`,
      [id],
    )
    return rows[0]
  }

  async function endAfterRetry(): Promise<void> {
    await record((await claim())!, { state: 'pending', delayMs: -1_000 })
    await record((await claim())!, { state: 'delivered' }, 2)
  }

  const list = () => listAttempts(path.store.pool, id, { limit: 10 })

  test('is in its row, and those before it in the log', async () => {
    await endAfterRetry()
    expect(await stored()).toEqual({ outcome: 'delivered', log: [1] })
    expect(await list()).toMatchObject([
      { number: 1, ...first },
      { number: 2, ...last },
    ])
    expect(await listAttempts(path.store.pool, id, { limit: 1, cursor: 1 })).toMatchObject([{ number: 2 }])
    expect(await listAttempts(path.store.pool, id, { limit: 1 })).toMatchObject([{ number: 1 }])
    expect(await listAttempts(path.store.pool, id, { limit: 1, cursor: 2 })).toEqual([])
  })

  test('goes into the log when the delivery is sent again', async () => {
    await endAfterRetry()
    const before = await list()
    expect(await makeDue(path.store.pool, id, 0)).toBe(true)
    expect(await stored()).toEqual({ outcome: null, log: [1, 2] })
    expect(await list()).toEqual(before)
    await expect
      .poll(async () => await record((await claim()) ?? newUuid(), { state: 'dead' }, 3))
      .toContain(id)
    expect(await stored()).toEqual({ outcome: 'rejected', log: [1, 2] })
    expect(await attempts()).toEqual([500, 200, 500])
  })

  test('is none where it ends without one: what was attempted stays in the log', async () => {
    await record((await claim())!, { state: 'pending', delayMs: -1_000 })
    const held = await claim()
    await endDeliveries(path.store.pool, [{ id, claim: held! }], 'skipped')
    expect(await stored()).toEqual({ outcome: null, log: [1] })
    expect(await makeDue(path.store.pool, id, 0)).toBe(true)
    expect(await attempts()).toEqual([500])
  })

  test('is found where the row has none, as deliveries ended before it had', async () => {
    await endAfterRetry()
    await path.store.pool.query(
      `WITH moved AS (
         UPDATE deliveries_ended SET outcome = NULL, started_at = NULL, duration_ms = NULL, status = NULL
         WHERE id = $1)
       INSERT INTO attempts (delivery_id, number, status, duration_ms, first_byte_ms, started_at, outcome)
       SELECT id, attempts, status, duration_ms, first_byte_ms, started_at, outcome FROM deliveries_ended WHERE id = $1`,
      [id],
    )
    expect(await list()).toMatchObject([{ number: 1 }, { number: 2, ...last }])
    expect(await makeDue(path.store.pool, id, 0)).toBe(true)
    expect(await attempts()).toEqual([500, 200])
  })
})

describe('under a claim that was lost', () => {
  const results: AttemptResult['next'][] = [
    { state: 'delivered' },
    { state: 'dead' },
    { state: 'pending', delayMs: HOUR_MS },
  ]

  test.each(results)('$state is not written while another worker holds the delivery', async (next) => {
    const lost = await claimAndExpire()
    const held = await claim()
    const before = await delivery()
    expect(await record(lost, next)).toEqual(new Set())
    expect(await delivery()).toEqual(before)
    expect(await attempts()).toEqual([])
    expect(await record(held!, { state: 'delivered' })).toEqual(new Set([id]))
  })

  test.each(results)('$state does not overwrite a retry that another worker set', async (next) => {
    const lost = await claimAndExpire()
    await record((await claim())!, { state: 'pending', delayMs: HOUR_MS / 2 })
    const before = await delivery()
    expect(await record(lost, next)).toEqual(new Set())
    expect(await delivery()).toEqual(before)
    expect(await attempts()).toEqual([500])
  })

  test.each(results)('$state does not reopen what another worker ended', async (next) => {
    const lost = await claimAndExpire()
    await record((await claim())!, { state: 'delivered' })
    const before = await delivery()
    expect(await record(lost, next)).toEqual(new Set())
    expect(await delivery()).toEqual(before)
    expect(await attempts()).toEqual([200])
  })

  test('a delivery is neither handed back nor ended', async () => {
    const lost = await claimAndExpire()
    const held = await claim()
    await releaseDeliveries(path.store.pool, [{ id, claim: lost, delayMs: 0 }])
    await endDeliveries(path.store.pool, [{ id, claim: lost }], 'cancelled')
    expect(await claim()).toBeUndefined()
    expect(await record(held!, { state: 'delivered' })).toEqual(new Set([id]))
  })
})

test('a result that is written under an expired lease counts while nobody else took the delivery', async () => {
  const expired = await claimAndExpire()
  expect(await record(expired, { state: 'delivered' })).toEqual(new Set([id]))
  expect(await delivery()).toMatchObject({ state: 'delivered', attempts: 1 })
})

test('a delivery that is handed back may be claimed at once, with no attempt used up', async () => {
  await releaseDeliveries(path.store.pool, [{ id, claim: (await claim())!, delayMs: 0 }])
  expect(await delivery()).toMatchObject({ state: 'pending', attempts: 0 })
  await expect.poll(() => claim()).toBeDefined()
})

describe('of an endpoint that is not closed', () => {
  const save = async (health: Partial<typeof HEALTHY>, expected: string | null = null) => {
    const endpointId = (await delivery())!.endpointId
    const version = newUuid()
    const saved = await saveEndpointHealth(path.store.pool, [
      { endpointId, expected, version, health: { ...HEALTHY, probeAtMs: Date.now() + HOUR_MS, ...health } },
    ])
    return saved.has(endpointId) ? version : undefined
  }
  afterEach(async () => resetEndpointHealth(path.store.pool, (await delivery())!.endpointId))

  test('a delivery is parked by the claim while it is open, and not held by anybody', async () => {
    await save({ state: 'open' })
    expect(await claim()).toBeUndefined()
    const { dueAt, attempts: made } = (await delivery())!
    expect(dueAt!.getTime()).toBeGreaterThan(Date.now() + HOUR_MS / 2)
    expect(made).toBe(0)
    expect((await takeDue(path.store.pool, 1_000, 0)).map((due) => due.id)).not.toContain(id)
  })

  test('a delivery is given when it was let go, and not before', async () => {
    const before = await save({
      state: 'half_open',
      releaseLimit: 4,
      releasedThrough: '00000000-0000-7000-8000-000000000000',
    })
    expect(await claim()).toBeUndefined()
    await save({ state: 'half_open', releaseLimit: 1, releasedThrough: id }, before)
    expect(await claim()).toBeDefined()
  })

  test('a delivery is given without that when it was accepted after the endpoint answered again', async () => {
    const freshAfter = 'ffffffff-ffff-7fff-bfff-ffffffffffff'
    const before = await save({ state: 'half_open', releaseLimit: 1, freshAfter })
    expect(await claim()).toBeUndefined()
    await save(
      { state: 'half_open', releaseLimit: 1, freshAfter: '00000000-0000-7000-8000-000000000000' },
      before,
    )
    expect(await claim()).toBeDefined()
  })

  test('of many that write its health at once, one does', async () => {
    const many = (expected: string | null) =>
      Promise.all(Array.from({ length: 10 }, () => save({ state: 'open' }, expected)))
    const [first, ...others] = (await many(null)).filter((version) => version !== undefined)
    expect(others).toEqual([])
    expect((await many(first!)).filter((version) => version !== undefined)).toHaveLength(1)
  })
})

import { newUuid } from '@posthorn/contracts'
import { claimDeliveries, releasePaced, reserveSlots, type WantedSlot } from '@posthorn/store'
import { describeEachBackend, type Receiver, startReceiver } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EVENT_TYPE, startTestPlatform, type TestPlatform } from './test-platform.ts'

const PATIENCE = { timeout: 60_000, interval: 50 }
const LEASE_MS = 60_000

describeEachBackend((backend) => {
  let platform: TestPlatform
  let receiver: Receiver
  let ownerId: string

  beforeEach(async () => {
    platform = await startTestPlatform(backend)
    receiver = await startReceiver()
    ownerId = await platform.addOwner('acme')
  })
  afterEach(async () => {
    await receiver.close()
    await platform.close()
  })

  async function emitMany(count: number): Promise<void> {
    await Promise.all(
      Array.from({ length: count }, (_, n) => platform.emit(EVENT_TYPE, { n }, { owner: 'acme' })),
    )
  }
  async function countStates(): Promise<Record<string, number>> {
    const states: Record<string, number> = {}
    for (const { state } of await platform.deliveries()) states[state] = (states[state] ?? 0) + 1
    return states
  }
  const paceOf = (endpointId: string) =>
    platform.store.prisma.endpointPace.findUnique({ where: { endpointId } })
  /** Milliseconds between the first and the last POST that came. */
  function lastedMs(): number {
    const times = receiver.requests.map(({ receivedAt }) => receivedAt.getTime())
    return Math.max(...times) - Math.min(...times)
  }

  test('three workers together keep to the rate, with a burst and with what is emitted meanwhile', async () => {
    await platform.addEndpoint(ownerId, receiver.url, { rateLimit: 40 })
    for (let n = 0; n < 3; n++) platform.startWorker()
    await emitMany(80)
    await receiver.waitFor(20, 30_000)
    await emitMany(20)
    await expect.poll(countStates, PATIENCE).toEqual({ delivered: 100 })
    expect(receiver.requests).toHaveLength(100)
    // 99 slots of 25 ms. A machine that is slow makes it longer, but for a first POST that came late.
    expect(lastedMs()).toBeGreaterThan((99 / 40) * 1_000 - 500)
  })

  test('retries have their slots, too', async () => {
    await platform.addEndpoint(ownerId, receiver.url, {
      rateLimit: 20,
      retryPolicy: { delaysMs: [100], jitter: 0 },
    })
    // Each first attempt gets an answer that opens no breaker; a retry may come before another's first.
    const seen = new Set<unknown>()
    receiver.answer(({ headers }) => {
      const id = headers['webhook-id']
      if (seen.has(id)) return { status: 200 }
      seen.add(id)
      return { status: 404 }
    })
    for (let n = 0; n < 3; n++) platform.startWorker()
    await emitMany(20)
    await expect.poll(countStates, PATIENCE).toEqual({ delivered: 20 })
    expect(receiver.requests).toHaveLength(40)
    expect(lastedMs()).toBeGreaterThan((39 / 20) * 1_000 - 500)
  })

  test('what waits for a slot is parked in the database, and others’ deliveries do not wait behind it', async () => {
    const slow = await platform.addEndpoint(ownerId, receiver.url, { rateLimit: 1, eventTypes: [EVENT_TYPE] })
    await emitMany(1_000)
    platform.startWorker()
    const countParked = async () => {
      const { rows } = await platform.store.pool.query(
        `SELECT count(*)::int AS count FROM deliveries_pending
        WHERE claim IS NULL AND attempts = 0 AND due_at > now() AND wake_at > due_at + interval '10 minutes'`,
      )
      return rows[0].count as number
    }
    await expect.poll(countParked, PATIENCE).toBeGreaterThan(800)
    const other = await startReceiver()
    try {
      const otherOwnerId = await platform.addOwner('globex')
      await platform.addEndpoint(otherOwnerId, other.url)
      for (let n = 0; n < 20; n++) await platform.emit(EVENT_TYPE, { n }, { owner: 'globex' })
      await other.waitFor(20, 60_000)
      expect(await countParked()).toBeGreaterThan(500)
      // Without the limit all of it goes.
      await platform.store.prisma.endpoint.update({ where: { id: slow.id }, data: { rateLimit: null } })
      await expect.poll(countStates, { timeout: 60_000, interval: 200 }).toEqual({ delivered: 1_020 })
    } finally {
      await other.close()
    }
    await expect.poll(async () => (await paceOf(slow.id))?.parkedUntil, PATIENCE).toBeNull()
  }, 180_000)

  test('slots are evenly spaced and given in the order of acceptance, to many who ask at once', async () => {
    const { id: endpointId } = await platform.addEndpoint(ownerId, receiver.url, { rateLimit: 10 })
    for (let n = 0; n < 30; n++) await platform.emit(EVENT_TYPE, { n }, { owner: 'acme' })
    const ids = (await platform.deliveries()).map(({ id }) => id).sort()
    const { pool } = platform.store
    const claim = newUuid()
    expect(await claimDeliveries(pool, ids, claim, LEASE_MS)).toHaveLength(30)
    const wanted = (some: string[]): WantedSlot[] =>
      some.map((id) => ({ id, claim, endpointId, rateLimit: 10 }))
    const beganAt = (await pool.query('SELECT now() AS at')).rows[0].at as Date
    // Four that ask at once, for five each.
    const reserved = await Promise.all(
      [0, 5, 10, 15].map((at) => reserveSlots(pool, wanted(ids.slice(at, at + 5)), 10_000)),
    )
    expect(reserved.flat().every((slot) => slot !== undefined)).toBe(true)
    // All 20 slots are taken, none twice: the next one is 20 slots after the first.
    const nextAt = (await paceOf(endpointId))!.nextAt.getTime()
    expect(nextAt - beganAt.getTime()).toBeGreaterThanOrEqual(2_000)
    // Nothing comes soon enough for the rest.
    expect(await reserveSlots(pool, wanted(ids.slice(20)), 0)).toEqual(Array(10).fill(undefined))
    const rest = (await platform.deliveries())
      .filter(({ id }) => ids.indexOf(id) >= 20)
      .sort((a, b) => (a.id < b.id ? -1 : 1))
    for (const [at, { dueAt }] of rest.entries()) {
      expect(dueAt!.getTime()).toBeGreaterThanOrEqual(nextAt + 100 * at)
    }
    // What comes now goes behind them, though it may wait for longer than they might.
    await platform.emit(EVENT_TYPE, { n: 30 }, { owner: 'acme' })
    const newest = (await platform.deliveries()).map(({ id }) => id).find((id) => !ids.includes(id))!
    await claimDeliveries(pool, [newest], claim, LEASE_MS)
    expect(await reserveSlots(pool, wanted([newest]), 60_000)).toEqual([undefined])
    // Let go are the oldest, half a second's worth.
    await pool.query('UPDATE endpoint_pace SET next_at = now(), release_at = now()')
    const release = () => releasePaced(pool, { endpoints: 10, perEndpoint: 100, wakeAfterMs: 5_000 })
    expect(await release()).toEqual(ids.slice(20, 25))
    expect(await release()).toEqual([])
    await claimDeliveries(pool, ids.slice(20, 25), claim, LEASE_MS)
    expect(await reserveSlots(pool, wanted(ids.slice(20, 25)), 10_000)).not.toContain(undefined)
  })
})

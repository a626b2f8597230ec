import type { HealthPolicy } from '@posthorn/dispatch'
import { describeEachBackend, type Receiver, startReceiver } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EVENT_TYPE, startTestPlatform, type TestPlatform } from './test-platform.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const PATIENCE = { timeout: 30_000, interval: 50 }
/** Opens for as long as a test wants to look at it. */
const PATIENT: Partial<HealthPolicy> = { openMs: HOUR_MS, openMaxMs: HOUR_MS }
/** Is probed by the next look at the clock. */
const HASTY: Partial<HealthPolicy> = { openMs: 1, openMaxMs: 1 }

describeEachBackend((backend) => {
  let platform: TestPlatform
  let receiver: Receiver
  let ownerId: string
  let up: boolean

  beforeEach(async () => {
    platform = await startTestPlatform(backend, { endpointConcurrency: 5 })
    receiver = await startReceiver()
    up = false
    receiver.answer(() => ({ status: up ? 200 : 500 }))
    ownerId = await platform.addOwner('acme')
  })
  afterEach(async () => {
    await receiver.close()
    await platform.close()
  })

  /** In order: each is accepted after the one before. */
  async function emitMany(count: number, owner = 'acme'): Promise<void> {
    for (let n = 1; n <= count; n++) await platform.emit(EVENT_TYPE, { n }, { owner })
  }
  const numbers = (requests = receiver.requests) =>
    requests.map(({ body }) => JSON.parse(body.toString()).data.n as number)
  async function healthOf(endpointId: string) {
    return (await platform.store.prisma.endpointHealth.findUnique({ where: { endpointId } })) ?? undefined
  }
  async function countStates(): Promise<Record<string, number>> {
    const states: Record<string, number> = {}
    for (const { state } of await platform.deliveries()) states[state] = (states[state] ?? 0) + 1
    return states
  }
  async function openByHand(endpointId: string): Promise<void> {
    await platform.store.pool.query(
      `INSERT INTO endpoint_health (endpoint_id, version, state, since, reason, failures, window_attempts,
        window_failures, openings, probe_at, release_limit, released)
      VALUES ($1, $1, 'open', now(), 'down', 0, 0, 0, 1, now() + interval '1 hour', 0, 0)`,
      [endpointId],
    )
  }
  /** The time that it is open for is over. */
  async function makeProbeDue(): Promise<void> {
    await platform.store.pool.query(`WITH h AS (UPDATE endpoint_health SET probe_at = now() WHERE state = 'open')
      UPDATE deliveries_pending SET due_at = now() WHERE attempts = 0`)
  }
  /** Pending deliveries that are out of the sweep's sight. */
  async function countParked(): Promise<number> {
    const { rows } = await platform.store.pool.query(
      `SELECT count(*)::int AS count FROM deliveries_pending WHERE wake_at > due_at + interval '10 minutes'`,
    )
    return rows[0].count
  }

  /** Of `count` deliveries all are parked but those that were attempted, and the results of these are known. */
  async function allParked(count: number): Promise<void> {
    await expect
      .poll(async () => {
        const attempted = (await platform.deliveries()).filter(({ attempts }) => attempts === 1).length
        return attempted === receiver.requests.length && attempted + (await countParked())
      }, PATIENCE)
      .toBe(count)
  }

  test('an endpoint that fails is opened, and what waits for it is parked without using up attempts', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
    })
    await emitMany(40)
    platform.startWorker({}, PATIENT)
    platform.startWorker({}, PATIENT)
    await allParked(40)
    expect((await platform.deliveries()).every(({ dueAt }) => dueAt!.getTime() > Date.now())).toBe(true)
    expect(await healthOf(endpoint.id)).toMatchObject({
      state: 'open',
      reason: 'The last attempt was answered with 500.',
      openings: 1,
    })
    // Those that were in flight when it opened, and no other.
    const attempted = receiver.requests.length
    expect(attempted).toBeLessThanOrEqual(4 + 2 * 5)
    const deliveries = await platform.deliveries()
    expect(deliveries.filter(({ attempts }) => attempts === 1)).toHaveLength(attempted)
    expect(deliveries.filter(({ attempts }) => attempts === 0)).toHaveLength(40 - attempted)
    // What comes now is parked as well.
    await emitMany(3)
    await expect.poll(countParked, PATIENCE).toBe(43 - attempted)
    expect(receiver.requests).toHaveLength(attempted)
  })

  test('it is probed with one delivery by all workers together, and opened for longer when that fails', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
    })
    await emitMany(40)
    for (let n = 0; n < 3; n++) platform.startWorker({}, PATIENT)
    await allParked(40)
    const before = receiver.requests.length
    const oldest = Math.min(
      ...Array.from({ length: 40 }, (_, at) => at + 1).filter((n) => !numbers().includes(n)),
    )
    await makeProbeDue()
    await expect.poll(async () => (await healthOf(endpoint.id))?.openings, PATIENCE).toBe(2)
    expect(receiver.requests).toHaveLength(before + 1)
    expect(numbers().at(-1)).toBe(oldest)
    expect(await healthOf(endpoint.id)).toMatchObject({ state: 'open' })
  })

  test('what waits is let go gradually, in the order of acceptance, as what was let go succeeds', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
      inFlightMax: 30,
    })
    platform.startWorker({}, { ...PATIENT, releaseMax: 64 })
    await openByHand(endpoint.id)
    await emitMany(60)
    await allParked(60)
    const answers: (() => void)[] = []
    receiver.answer(() => ({ until: new Promise<void>((resolve) => answers.push(resolve)) }))
    await makeProbeDue()
    for (let answered = 0; answered < 8; answered++) {
      // Each success frees its own place and makes room for one more.
      const letGo = 1 + 2 * answered
      await expect.poll(() => receiver.requests.length, PATIENCE).toBe(letGo)
      expect(numbers().sort((a, b) => a - b)).toEqual(Array.from({ length: letGo }, (_, at) => at + 1))
      answers.shift()!()
      await expect.poll(countStates, PATIENCE).toMatchObject({ delivered: answered + 1 })
    }
    receiver.answer({ status: 200 })
    for (const answer of answers.splice(0)) answer()
    await expect.poll(countStates, PATIENCE).toEqual({ delivered: 60 })
    await expect.poll(async () => (await healthOf(endpoint.id))?.state, PATIENCE).toBe('closed')
    // It is as if nothing had been: what comes now goes out at once.
    await emitMany(3)
    await expect.poll(countStates, PATIENCE).toEqual({ delivered: 63 })
  })

  test('what is emitted once it answers again does not wait behind what waited', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, { inFlightMax: 30 })
    platform.startWorker({}, PATIENT)
    await openByHand(endpoint.id)
    await emitMany(20)
    await allParked(20)
    const answers: (() => void)[] = []
    receiver.answer((request) =>
      JSON.parse(request.body.toString()).data.n > 20
        ? { status: 200 }
        : { until: new Promise<void>((resolve) => answers.push(resolve)) },
    )
    await makeProbeDue()
    await expect.poll(() => answers.length, PATIENCE).toBe(1)
    answers.shift()!()
    await expect
      .poll(async () => {
        await platform.emit(EVENT_TYPE, { n: 21 }, { owner: 'acme' })
        return numbers().includes(21)
      }, PATIENCE)
      .toBe(true)
    expect(
      numbers()
        .filter((n) => n <= 20)
        .sort(),
    ).toEqual([1, 2, 3])
    receiver.answer({ status: 200 })
    for (const answer of answers) answer()
    await expect.poll(async () => Object.keys(await countStates()), PATIENCE).toEqual(['delivered'])
  })

  test('an endpoint that comes back gets everything, also what came while it was recovering', async () => {
    await platform.addEndpoint(ownerId, receiver.url, { retryPolicy: { delaysMs: Array(40).fill(100) } })
    platform.startWorker({}, HASTY)
    platform.startWorker({}, HASTY)
    await emitMany(100)
    await receiver.waitFor(8)
    up = true
    await emitMany(100)
    await expect.poll(countStates, PATIENCE).toEqual({ delivered: 200 })
  })

  test('Retry-After holds the endpoint as a whole, from the first answer on', async () => {
    receiver.answer({ status: 429, headers: { 'retry-after': '1800' } })
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, { inFlightMax: 1 })
    await emitMany(10)
    platform.startWorker()
    await expect.poll(countParked, PATIENCE).toBe(9)
    expect(receiver.requests).toHaveLength(1)
    const health = await healthOf(endpoint.id)
    expect(health).toMatchObject({ state: 'open', openings: 0 })
    const heldMs = health!.probeAt!.getTime() - health!.since!.getTime()
    expect(heldMs).toBe(1_800_000)
    for (const { dueAt } of await platform.deliveries()) {
      expect(dueAt!.getTime()).toBeGreaterThan(Date.now() + 1_700_000)
    }
  })

  test('two endpoints do not influence each other', async () => {
    const healthy = await startReceiver()
    const failing = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
    })
    const other = await platform.addEndpoint(ownerId, healthy.url)
    platform.startWorker({}, PATIENT)
    await emitMany(30)
    await expect.poll(async () => (await healthOf(failing.id))?.state, PATIENCE).toBe('open')
    await emitMany(10)
    await healthy.waitFor(40)
    expect(await healthOf(other.id)).toBeUndefined()
    await healthy.close()
  })

  test('a delivery to a healthy endpoint writes nothing about its health', async () => {
    up = true
    const endpoint = await platform.addEndpoint(ownerId, receiver.url)
    // Also of those that change no row.
    await platform.store.pool.query(`
      CREATE TABLE statements (kind text);
      CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO statements VALUES (TG_OP); RETURN NULL; END';
      CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON endpoint_health EXECUTE FUNCTION note()`)
    platform.startWorker()
    await emitMany(20)
    await expect.poll(countStates, PATIENCE).toEqual({ delivered: 20 })
    const { rows } = await platform.store.pool.query('SELECT * FROM statements')
    expect(rows).toEqual([])
    expect(await healthOf(endpoint.id)).toBeUndefined()
  })

  test('an answer that is about the message does not open the endpoint, however often it comes', async () => {
    receiver.answer({ status: 422 })
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
    })
    platform.startWorker({}, PATIENT)
    await emitMany(30)
    await receiver.waitFor(30)
    await expect.poll(async () => (await healthOf(endpoint.id))?.failingSince, PATIENCE).toBeInstanceOf(Date)
    expect(await healthOf(endpoint.id)).toMatchObject({ state: 'closed', failures: 0 })
    expect(await countParked()).toBe(0)
  })

  test('nothing but failures for days disables the endpoint, and what waits for it is skipped', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
    })
    platform.startWorker({ disableAfterMs: 5 * DAY_MS }, PATIENT)
    await emitMany(20)
    await allParked(20)
    await platform.store.pool.query(`UPDATE endpoint_health SET failing_since = now() - interval '5 days'`)
    await makeProbeDue()
    await expect.poll(countStates, PATIENCE).toEqual({ skipped: 20 })
    const row = await platform.store.prisma.endpoint.findUniqueOrThrow({ where: { id: endpoint.id } })
    expect(row.disabledAt).toBeInstanceOf(Date)
    expect(row.disabledReason).toMatch(/^Every attempt since .+ failed\.$/)
    expect(await healthOf(endpoint.id)).toBeUndefined()
  })

  test('one success in those days, and it is not disabled', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
    })
    platform.startWorker({ disableAfterMs: 5 * DAY_MS }, { ...PATIENT, failuresMax: 3 })
    await emitMany(1)
    await expect.poll(async () => (await healthOf(endpoint.id))?.failures, PATIENCE).toBe(1)
    await platform.store.pool.query(`UPDATE endpoint_health SET failing_since = now() - interval '5 days'`)
    up = true
    await emitMany(1)
    await expect.poll(async () => (await healthOf(endpoint.id))?.failingSince, PATIENCE).toBeNull()
    up = false
    await emitMany(1)
    await expect.poll(async () => (await healthOf(endpoint.id))?.failures, PATIENCE).toBe(1)
    const row = await platform.store.prisma.endpoint.findUniqueOrThrow({ where: { id: endpoint.id } })
    expect(row.disabledAt).toBeNull()
  })

  test('what waits for an endpoint that is open is cancelled once the endpoint is deleted', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
    })
    platform.startWorker({}, PATIENT)
    await emitMany(20)
    await allParked(20)
    const parked = await countParked()
    await platform.store.prisma.endpoint.update({
      where: { id: endpoint.id },
      data: { deletedAt: new Date() },
    })
    await makeProbeDue()
    await expect.poll(countStates, PATIENCE).toMatchObject({ cancelled: parked })
  })

  test('a probe that is lost with its worker is made again', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [HOUR_MS] },
    })
    await emitMany(20)
    platform.startWorker({}, { ...PATIENT, newsMs: 500 })
    await allParked(20)
    const before = receiver.requests.length
    // As a worker left it that ended in the middle of its probe: let go, and nobody has it.
    await platform.store.pool.query(
      `UPDATE endpoint_health SET state = 'half_open', since = now(), probe_at = now() + interval '1 second',
        release_limit = 1, released = 1, released_through = (SELECT min(id::text)::uuid FROM deliveries_pending)`,
    )
    await platform.store.pool.query('UPDATE deliveries_pending SET due_at = now() WHERE attempts = 0')
    up = true
    await expect.poll(countStates, PATIENCE).toEqual({ delivered: 20 - before, pending: before })
    expect((await healthOf(endpoint.id))?.state).toBe('closed')
  })
})

import { newUuid, retrySchedule } from '@posthorn/contracts'
import type { PostOutcome } from '@posthorn/egress'
import { createLogger } from '@posthorn/runtime'
import {
  type ClaimedDelivery,
  claimDeliveries,
  deleteEndpoint,
  disableEndpoint,
  endDeliveries,
  findEndpointState,
  parkDeliveries,
  type ReplaySelection,
  recordAttempts,
  releaseDeliveries,
  resetEndpointHealth,
  takeDue,
  updateEndpoint,
} from '@posthorn/store'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { attemptResult, policyOutcome } from '../src/attempt-result.ts'
import { changeHealth } from '../src/change-health.ts'
import { HEALTH_POLICY, type HealthPolicy, healthEvent } from '../src/endpoint-health.ts'
import { askReplay, type Probe, type Replays, retryDelivery, startProbe, startReplays } from '../src/index.ts'
import { skipDisabled } from '../src/skip-disabled.ts'
import { type DeliveryPath, startDeliveryPath } from './start-delivery-path.ts'

const TYPE = 'pay_info.paid'
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
/** Everything that waits does so for longer than a run takes, so that only the step `pass` ends it. */
const LEASE_MS = 2 * HOUR_MS
const GRACE_MS = 10 * MINUTE_MS
const POLICY = { delaysMs: [HOUR_MS, 5 * HOUR_MS] }
const ATTEMPTS_MAX = retrySchedule(POLICY).length
const DELIVERIES_MAX = 5
const HEALTH: HealthPolicy = {
  ...{ ...HEALTH_POLICY, failuresMax: 2, openMs: HOUR_MS, openMaxMs: 4 * HOUR_MS },
  ...{ throttledMs: HOUR_MS, newsMs: 3 * HOUR_MS, releaseMax: 10, disableAfterMs: null },
}
/** What the breaker holds back is looked at a quarter of an hour after it should have been let go. */
const LOOK_MAX_MS = HEALTH.newsMs + GRACE_MS + 15 * MINUTE_MS

type Step =
  | { kind: 'accept' }
  /** By whoever has a job: the sweep's or another, which may come twice or too early. */
  | { kind: 'claim'; swept: boolean }
  /** What some worker has from its claim to say, which it may have lost or said before. */
  | { kind: 'record'; back: number; status: number }
  | { kind: 'hand-back'; back: number; delayMs: number }
  /** The endpoint's breaker opened after the claim. */
  | { kind: 'park'; back: number }
  | { kind: 'probe' }
  /** Time passes: what was due, leased or to be looked at in so long is so now. */
  | { kind: 'pass'; ms: number }
  | { kind: 'retry'; at: number }
  /** `runs`: at once; otherwise whatever comes between is after the asking. */
  | { kind: 'replay'; selection: ReplaySelection; runs: boolean }
  | { kind: 'run-replays' }
  | { kind: 'disable' | 'enable' | 'delete' }

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  weighted(2, { kind: fc.constant('accept' as const) }),
  weighted(6, { kind: fc.constant('claim' as const), swept: fc.boolean() }),
  weighted(8, {
    kind: fc.constant('record' as const),
    back: fc.nat(6),
    status: fc.constantFrom(500, 500, 500, 200, 200, 410),
  }),
  weighted(2, {
    kind: fc.constant('hand-back' as const),
    back: fc.nat(6),
    delayMs: fc.constantFrom(0, HOUR_MS),
  }),
  weighted(1, { kind: fc.constant('park' as const), back: fc.nat(6) }),
  weighted(2, { kind: fc.constant('probe' as const) }),
  weighted(5, {
    kind: fc.constant('pass' as const),
    ms: fc.constantFrom(HOUR_MS, LEASE_MS + MINUTE_MS, DAY_MS),
  }),
  weighted(2, { kind: fc.constant('retry' as const), at: fc.nat(DELIVERIES_MAX - 1) }),
  weighted(4, {
    kind: fc.constant('replay' as const),
    selection: fc.constantFrom<ReplaySelection>('dead', 'skipped', 'all', 'all', 'missing'),
    runs: fc.boolean(),
  }),
  weighted(2, { kind: fc.constant('run-replays' as const) }),
  weighted(3, { kind: fc.constantFrom<'disable' | 'enable'>('disable', 'enable', 'enable') }),
  weighted(0.2, { kind: fc.constant('delete' as const) }),
)

function weighted<T extends object>(weight: number, model: { [K in keyof T]: fc.Arbitrary<T[K]> }) {
  return { weight: weight * 10, arbitrary: fc.record(model) }
}

const anySteps = fc.array(anyStep, { maxLength: 30, size: 'max' })

/** Where deliveries begin: taken, gone, failed once, or still in the hands of a worker. */
const anyStart = fc.array(fc.constantFrom(200, 410, 500, undefined), { minLength: 1, maxLength: 3 })

interface Row {
  id: string
  state: string
  attempts: number
  attemptsBeforeReplay: number
  claim: string | null
  due: Date | null
  wake: Date | null
  leaseUntil: Date | null
  ended: Date | null
  claimable: boolean
  /** Whether its endpoint's breaker has anything to say. */
  breaks: boolean
  /** Whether the sweep comes to it no later than it should. */
  looked: boolean
  /** Numbers in the log of attempts. */
  log: number[]
}

/** A delivery in the hands of a worker, or that once was. */
interface Held {
  delivery: ClaimedDelivery
  claim: string
}

const logger = createLogger({ level: 'fatal', name: 'test' })
/** Jobs are only hints. */
const queue = { enqueue: () => Promise.resolve(), waiting: () => Promise.resolve(0) }

let path: DeliveryPath
let replays: Replays[]
let probe: Probe
let owners = 0

beforeAll(async () => {
  path = await startDeliveryPath({ name: 'postgres', queuePrefix: 'unused' })
  await path.addEventTypes(TYPE)
  const { pool } = path.store
  replays = [1, 2].map(() => startReplays({ pool, queue, logger }))
  probe = startProbe({ pool, queue, logger, policy: HEALTH })
  await Promise.all([...replays, probe].map((each) => each.stop()))
})
afterAll(() => path.close())

test('whatever happens to them, deliveries have ended or are due, within their policy, and none is lost', async () => {
  await fc.assert(
    fc.asyncProperty(anyStart, anySteps, fc.constantFrom(200, 500), async (start, steps, status) => {
      const course = await startCourse()
      for (const _ of start) await course.take({ kind: 'accept' })
      await course.take({ kind: 'claim', swept: false })
      for (const [back, status] of start.entries()) {
        if (status !== undefined) await course.take({ kind: 'record', back, status })
      }
      await course.take({ kind: 'enable' })
      for (const step of steps) await course.take(step)
      await course.runOut(status)
    }),
    // A busy machine tries fewer.
    { numRuns: 60, interruptAfterTimeLimit: 20_000 },
  )
})

/** Deliveries of one endpoint, of which every step is looked at. */
async function startCourse() {
  const { pool, prisma } = path.store
  const { vault } = path
  await pool.query('DELETE FROM replays')
  await pool.query('DELETE FROM endpoint_health')
  await pool.query('DELETE FROM deliveries')
  const owner = `owner-${owners++}`
  const ownerId = await path.addOwner(owner)
  const { id: endpointId } = await path.addEndpoint(ownerId, 'http://127.0.0.1:1/', [TYPE])
  const context = { pool, queue, logger }
  const held: Held[] = []
  /** Attempts since a delivery was accepted or, having ended, sent again. */
  const attemptsSince = new Map<string, number>()
  let rows: Row[] = []

  /** Takes a step, and looks at what it did. */
  async function take(step: Step): Promise<void> {
    const before = rows
    const allowed = await act(step)
    rows = await readRows()
    for (const row of rows) expect(faultOf(row)).toBeUndefined()
    if (step.kind !== 'accept') expect(idsOf(rows)).toEqual(idsOf(before))
    for (const row of rows) {
      const was = before.find(({ id }) => id === row.id)
      if (was === undefined) attemptsSince.set(row.id, 0)
      else followed(was, row, allowed)
    }
  }

  /** @returns which deliveries this step may have attempted, ended without an attempt, and opened again */
  async function act(step: Step): Promise<Allowed> {
    switch (step.kind) {
      case 'accept':
        if (rows.length < DELIVERIES_MAX) {
          await path.accept.accept({ owner, type: TYPE, data: Buffer.from('{}') })
        }
        return {}
      case 'claim':
        return await claim(step.swept ? await sweep() : idsOf(rows))
      case 'record': {
        const one = held.at(-1 - (step.back % Math.max(1, held.length)))
        return one === undefined ? {} : await record(one, step.status)
      }
      case 'hand-back': {
        const one = held.at(-1 - (step.back % Math.max(1, held.length)))
        if (one !== undefined) {
          const { delivery, claim: held } = one
          await releaseDeliveries(pool, [{ id: delivery.id, claim: held, delayMs: step.delayMs }])
        }
        return { handedBack: one }
      }
      case 'park': {
        const one = held.at(-1 - (step.back % Math.max(1, held.length)))
        if (one !== undefined) {
          await parkDeliveries(pool, [{ id: one.delivery.id, claim: one.claim, endpointId }])
        }
        return { handedBack: one }
      }
      case 'probe':
        await probe.once()
        return {}
      case 'pass':
        await pool.query(
          `UPDATE deliveries_pending SET due_at = due_at - $1 * interval '1 millisecond',
             wake_at = wake_at - $1 * interval '1 millisecond',
             lease_until = lease_until - $1 * interval '1 millisecond'`,
          [step.ms],
        )
        await pool.query(
          `UPDATE endpoint_health SET since = since - $1 * interval '1 millisecond',
             failing_since = failing_since - $1 * interval '1 millisecond',
             window_since = window_since - $1 * interval '1 millisecond',
             probe_at = probe_at - $1 * interval '1 millisecond'`,
          [step.ms],
        )
        return {}
      case 'retry': {
        const row = rows[step.at]
        if (row !== undefined) await retryDelivery(context, row.id)
        return { reopened: row === undefined ? [] : [row.id] }
      }
      case 'replay': {
        const covered = { ownerId, endpointId, after: new Date(0), before: null, eventTypes: [] }
        const asked = { ...covered, selection: step.selection, perSecond: 10_000 }
        // Twice, by somebody impatient.
        await Promise.all([askReplay({ pool }, asked), askReplay({ pool }, asked)])
        if (!step.runs) return {}
        await runReplays()
        return { reopened: idsOf(rows) }
      }
      case 'run-replays':
        await runReplays()
        return { reopened: idsOf(rows) }
      case 'disable':
      case 'enable':
        await updateEndpoint(
          { prisma, vault },
          { id: endpointId, ownerId },
          { enabled: step.kind === 'enable' },
        )
        return {}
      case 'delete':
        await deleteEndpoint(prisma, { id: endpointId, ownerId })
        return {}
    }
  }

  /** As `deliver` does: what has nowhere to go ends at once. */
  async function claim(ids: string[]): Promise<Allowed> {
    const uuid = newUuid()
    const claimed = await claimDeliveries(pool, ids, uuid, LEASE_MS)
    const claimable = idsOf(rows.filter((row) => row.claimable && ids.includes(row.id)))
    if (rows.some(({ breaks }) => breaks)) expect(claimable).toEqual(expect.arrayContaining(idsOf(claimed)))
    else expect(idsOf(claimed).sort()).toEqual(claimable)
    const target = await findEndpointState(pool, endpointId)
    if (target!.disabled || target!.deleted) {
      const ended = claimed.map(({ id }) => ({ id, claim: uuid }))
      await endDeliveries(pool, ended, target!.deleted ? 'cancelled' : 'skipped')
      if (claimed.some(({ health }) => health !== null)) await resetEndpointHealth(pool, endpointId)
      return { endedUntried: idsOf(ended), claimed: claimable }
    }
    held.push(...claimed.map((delivery) => ({ delivery, claim: uuid })))
    return { claimed: claimable }
  }

  async function record({ delivery, claim }: Held, status: number): Promise<Allowed> {
    const startedAt = new Date()
    const outcome = answered(status)
    const attempted = { deliveryId: delivery.id, startedAtMs: startedAt.getTime() }
    const event = healthEvent(policyOutcome(outcome, startedAt), attempted, HEALTH)
    await changeHealth({ ...context, policy: HEALTH }, [{ endpointId, event }])
    const { result, disable } = attemptResult({
      ...{ delivery, claim, startedAt, outcome, policy: POLICY, random: Math.random() },
    })
    if (disable !== undefined) await disableEndpoint(pool, endpointId, disable)
    const isHeld = rows.some((row) => row.id === delivery.id && row.claim === claim)
    expect(await recordAttempts(pool, [result])).toEqual(new Set(isHeld ? [delivery.id] : []))
    if (disable !== undefined) await skipDisabled(pool, endpointId)
    return {
      ...(isHeld && { attempted: delivery.id }),
      endedUntried: disable === undefined ? [] : idsOf(rows),
    }
  }

  /** Is every change of a delivery one that the step may make? */
  function followed(was: Row, row: Row, allowed: Allowed): void {
    const { id } = row
    const isTried = allowed.attempted === id
    expect(row.attempts - was.attempts).toBe(isTried ? 1 : 0)
    const hadEnded = was.state !== 'pending'
    const hasEnded = row.state !== 'pending'
    if (hadEnded && hasEnded) expect(row).toEqual(was)
    if (hadEnded && !hasEnded) {
      expect(allowed.reopened).toContain(id)
      attemptsSince.set(id, 0)
    }
    if (!hadEnded && hasEnded) expect(isTried || (allowed.endedUntried ?? []).includes(id)).toBe(true)
    if (was.claim !== null && row.claim !== was.claim && !hasEnded) {
      const isHandedBack = allowed.handedBack?.delivery.id === id && allowed.handedBack.claim === was.claim
      expect(isTried || isHandedBack || (allowed.claimed ?? []).includes(id)).toBe(true)
    }
    if (isTried) attemptsSince.set(id, attemptsSince.get(id)! + 1)
    expect(attemptsSince.get(id)).toBeLessThanOrEqual(ATTEMPTS_MAX)
  }

  /** In two processes at once, as it were. */
  const runReplays = () => Promise.all(replays.map((each) => each.once()))

  const sweep = async () => (await takeDue(pool, 1_000, GRACE_MS)).map(({ id }) => id)

  const readRows = async () => (await pool.query<Row>(READ, [endpointId, LOOK_MAX_MS])).rows

  /** However they are now, sweep and probe alone bring all of them to their end. */
  async function runOut(status: number): Promise<void> {
    await take({ kind: 'enable' })
    for (let round = 0; rows.some(({ state }) => state === 'pending'); round++) {
      // A breaker that stays open lets one attempt go at a time.
      expect(round).toBeLessThan(2 * DELIVERIES_MAX * ATTEMPTS_MAX)
      await take({ kind: 'pass', ms: 2 * DAY_MS })
      await take({ kind: 'probe' })
      // The jobs of what it let go are lost.
      await take({ kind: 'pass', ms: MINUTE_MS })
      held.length = 0
      await take({ kind: 'claim', swept: true })
      for (const back of held.keys()) await take({ kind: 'record', back, status })
    }
  }

  return { take, runOut }
}

interface Allowed {
  attempted?: string
  endedUntried?: string[]
  reopened?: string[]
  claimed?: string[]
  handedBack?: Held | undefined
}

const READ = `
SELECT d.id, d.state::text, d.attempts, d.attempts_before_replay AS "attemptsBeforeReplay", d.claim,
  d.due_at AS due, d.wake_at AS wake, d.lease_until AS "leaseUntil", d.ended_at AS ended,
  d.state = 'pending' AND d.due_at <= now() AND (d.lease_until IS NULL OR d.lease_until <= now()) AS claimable,
  coalesce(d.wake_at <= greatest(d.due_at, now()) + $2::int * interval '1 millisecond', false) AS looked,
  d.state = 'pending' AND EXISTS (SELECT FROM endpoint_health h WHERE h.endpoint_id = d.endpoint_id) AS breaks,
  ARRAY (SELECT a.number FROM attempts_all a WHERE a.delivery_id = d.id ORDER BY a.number) AS log
FROM deliveries d WHERE d.endpoint_id = $1 ORDER BY d.id`

/** What is wrong with a delivery by itself. */
function faultOf(row: Row): string | undefined {
  const isDue = row.due !== null && Number.isFinite(row.due.getTime())
  if (row.state === 'pending' ? !isDue || row.ended !== null : isDue || row.ended === null) {
    return `${row.id} has neither ended nor is it due, or both: ${JSON.stringify(row)}`
  }
  if (row.state === 'pending' && !row.looked) return `${row.id} is due and never looked at`
  if ((row.claim === null) !== (row.leaseUntil === null)) return `${row.id} is held without an end`
  const numbers = Array.from({ length: row.attempts }, (_, at) => at + 1)
  if (String(row.log) !== String(numbers))
    return `${row.id} has ${row.attempts} attempts, and logged ${row.log}`
  return undefined
}

const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id)

function answered(status: number): PostOutcome {
  return {
    ...{ kind: 'answered', status, headers: [], body: Buffer.alloc(0), bodyTruncated: false },
    ...{ durationMs: 1, timings: { totalMs: 1 } },
  }
}

import { encodeId, newUuid } from '@posthorn/contracts'
import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import {
  type EndpointHealth,
  type HealthChange,
  isTransient,
  listWaiting,
  loadEndpointHealth,
  type Pool,
  saveEndpointHealth,
  wakeDeliveries,
} from '@posthorn/store'
import {
  disableReason,
  HEALTHY,
  type HealthEvent,
  type HealthPolicy,
  isHealthy,
  nextHealth,
  releaseRoom,
} from './endpoint-health.ts'
import { UNCLAIMED_GRACE_MS } from './sweep.ts'

export interface ChangeHealthContext {
  pool: Pool
  queue: Pick<DeliveryQueue, 'enqueue'>
  logger: Logger
  policy: HealthPolicy
}

/** Times of events are by this process's clock; the database's is what counts. */
export interface EndpointEvent {
  endpointId: string
  event: HealthEvent
}

export interface ChangedHealth {
  /** Null: healthy. */
  health: EndpointHealth | null
  /** Why the endpoint is to be disabled, if it is. */
  disable?: string
}

/**
 * Makes the changes that follow from events, each on what the row is by then, and lets go the deliveries
 * that a recovering endpoint has room for. Among many that do the same at once, each event counts once.
 *
 * @returns for each endpoint what it is now
 */
export async function changeHealth(
  context: ChangeHealthContext,
  events: readonly EndpointEvent[],
): Promise<Map<string, ChangedHealth>> {
  const eventsOf = new Map<string, HealthEvent[]>()
  for (const { endpointId, event } of events) {
    const known = eventsOf.get(endpointId)
    if (known === undefined) eventsOf.set(endpointId, [event])
    else known.push(event)
  }
  const done = new Map<string, ChangedHealth>()
  while (eventsOf.size > 0) {
    for (const [endpointId, changed] of await tryChange(context, eventsOf)) {
      done.set(endpointId, changed)
      eventsOf.delete(endpointId)
    }
  }
  return done
}

interface Step {
  endpointId: string
  expected: string | null
  before: EndpointHealth
  after: EndpointHealth
  nowMs: number
  letGo: string[]
}

/** @returns those that were written, and those that nothing changed; the others were changed by somebody else meanwhile */
async function tryChange(
  context: ChangeHealthContext,
  eventsOf: ReadonlyMap<string, readonly HealthEvent[]>,
): Promise<Map<string, ChangedHealth>> {
  const { pool, policy } = context
  const askedAtMs = Date.now()
  // One order for all processes: no two writes wait for each other's rows.
  const steps: Step[] = []
  for (const { endpointId, nowMs, version, health } of await loadEndpointHealth(
    pool,
    [...eventsOf.keys()].sort(),
  )) {
    const before = health ?? HEALTHY
    let after = before
    for (const event of eventsOf.get(endpointId)!) {
      after = nextHealth(after, byDatabaseClock(event, nowMs - askedAtMs), {
        nowMs,
        policy,
        random: Math.random(),
      })
    }
    steps.push({ endpointId, expected: version, before, after, nowMs, letGo: [] })
  }
  await letGoWhatHasRoom(pool, policy, steps)

  const results = new Map<string, ChangedHealth>()
  const changes: HealthChange[] = []
  for (const step of steps) {
    if (isSame(step.before, step.after)) results.set(step.endpointId, outcomeOf(step, policy))
    else changes.push(toChange(step, policy))
  }
  if (changes.length === 0) return results
  const written = await saved(pool, changes)
  const letGo: string[] = []
  for (const step of steps) {
    if (!written.has(step.endpointId)) continue
    results.set(step.endpointId, outcomeOf(step, policy))
    letGo.push(...step.letGo)
    logChange(context.logger, step)
  }
  if (letGo.length > 0) await wake(context, letGo)
  return results
}

function byDatabaseClock(event: HealthEvent, aheadMs: number): HealthEvent {
  return 'startedAtMs' in event ? { ...event, startedAtMs: event.startedAtMs + aheadMs } : event
}

async function letGoWhatHasRoom(pool: Pool, policy: HealthPolicy, steps: Step[]): Promise<void> {
  const wanted = steps.filter(({ after }) => releaseRoom(after) > 0)
  if (wanted.length === 0) return
  const waiting = await listWaiting(
    pool,
    wanted.map(({ endpointId, after }) => ({
      endpointId,
      after: after.releasedThrough,
      through: after.freshAfter,
      count: releaseRoom(after),
    })),
  )
  for (const step of wanted) {
    step.letGo = waiting.filter(({ endpointId }) => endpointId === step.endpointId).map(({ id }) => id)
    const count = step.letGo.length
    const through = step.letGo.at(-1) ?? null
    step.after = nextHealth(
      step.after,
      { kind: 'released', count, through, drained: count < releaseRoom(step.after) },
      { nowMs: step.nowMs, policy, random: Math.random() },
    )
  }
}

function toChange(step: Step, policy: HealthPolicy): HealthChange {
  const { endpointId, expected, after, nowMs } = step
  const event = turn(step)
  return {
    endpointId,
    expected,
    version: newUuid(),
    health: isHealthy(after, nowMs, policy) ? null : after,
    ...(event !== undefined && { event }),
  }
}

/** What subscribers are told: once that it fails, however often it is probed, and once that it recovered. */
function turn({ before, after, nowMs }: Step): HealthChange['event'] {
  if (before.openings === 0 && after.openings > 0) {
    const sinceMs = after.failingSinceMs ?? nowMs
    return { type: 'endpoint.failing', reason: after.reason ?? 'Too many attempts failed.', sinceMs }
  }
  if (before.openings > 0 && after.openings === 0) {
    return { type: 'endpoint.recovered', reason: 'It takes deliveries again.', sinceMs: nowMs }
  }
  return undefined
}

function outcomeOf({ after, nowMs }: Step, policy: HealthPolicy): ChangedHealth {
  const disable = disableReason(after, nowMs, policy)
  return {
    health: isHealthy(after, nowMs, policy) ? null : after,
    ...(disable !== undefined && { disable }),
  }
}

function isSame(before: EndpointHealth, after: EndpointHealth): boolean {
  return Object.entries(after).every(([name, value]) => before[name as keyof EndpointHealth] === value)
}

/** A deadlock with another worker's write is none of ours: nothing was written, so it is read again. */
async function saved(pool: Pool, changes: HealthChange[]): Promise<Set<string>> {
  try {
    return await saveEndpointHealth(pool, changes)
  } catch (error) {
    if (isTransient(error)) return new Set()
    throw error
  }
}

async function wake({ pool, queue, logger }: ChangeHealthContext, ids: string[]): Promise<void> {
  await wakeDeliveries(pool, ids, UNCLAIMED_GRACE_MS)
  // A job is a hint. Where it cannot be added, the sweep finds the deliveries in the database.
  queue.enqueue(ids).catch((error: unknown) => {
    logger.warn({ err: error, deliveries: ids.length }, 'delivery.enqueue_failed')
  })
}

function logChange(logger: Logger, { endpointId, before, after, nowMs }: Step): void {
  if (before.state === after.state) return
  logger.info(
    {
      endpoint: encodeId('ep', endpointId),
      before: before.state,
      reason: after.reason,
      ...(after.state === 'open' && { probeInMs: Math.round((after.probeAtMs ?? nowMs) - nowMs) }),
    },
    `endpoint.${after.state}`,
  )
}

import { lowestId } from '@posthorn/contracts'
import type { EndpointHealth } from '@posthorn/store'
import type { Outcome } from './retry-policy.ts'

/** What happened to an endpoint, as far as its health depends on it. */
export type HealthEvent =
  /** An attempt was answered with 2xx. */
  | ({ kind: 'success' } & Attempted)
  /** An attempt was not taken, but the endpoint is there: a 4xx or 3xx is about the message or the URL. */
  | ({ kind: 'refusal'; reason: string } & Attempted)
  /** The endpoint is down or overloaded. `holdMs`: it is to be left alone for that long. */
  | ({ kind: 'failure'; reason: string; holdMs?: number } & Attempted)
  /** The clock says that it is time for a probe. */
  | { kind: 'probeDue' }
  /** `count` of the deliveries that wait are let go, up to `through`; `drained`: no more of them wait. */
  | { kind: 'released'; count: number; through: string | null; drained: boolean }

/** The attempt that it follows from. */
export interface Attempted {
  deliveryId: string
  /** When the attempt began, by the database's clock. */
  startedAtMs: number
}

export interface HealthPolicy {
  /** Opens after so many failures in a row, … */
  failuresMax: number
  /** … or when of at least `windowAttemptsMin` attempts within `windowMs` this share failed. */
  windowMs: number
  windowAttemptsMin: number
  windowFailureRate: number
  /** How long it stays open: at first, doubled each time that a probe fails, and at most. */
  openMs: number
  openMaxMs: number
  /** How long a 429, 502, 503 or 504 without `Retry-After` holds the endpoint. */
  throttledMs: number
  /** Half open: without news for this long it is probed again. Longer than an attempt and a lease. */
  newsMs: number
  /** Half open: deliveries that were let go and are under way, at most. */
  releaseMax: number
  /** Disabled after nothing but failures for this long; null: never. */
  disableAfterMs: number | null
}

/** What is not a setting. */
export const HEALTH_POLICY = {
  failuresMax: 5,
  windowMs: 60_000,
  windowAttemptsMin: 20,
  windowFailureRate: 0.5,
} as const satisfies Partial<HealthPolicy>

/** What is not in the database: nothing was ever wrong, or it is long over. */
export const HEALTHY: EndpointHealth = {
  state: 'closed',
  sinceMs: null,
  reason: null,
  failingSinceMs: null,
  failures: 0,
  windowSinceMs: null,
  windowAttempts: 0,
  windowFailures: 0,
  openings: 0,
  probeAtMs: null,
  releaseLimit: 0,
  released: 0,
  releasedThrough: null,
  freshAfter: null,
}

/** Long enough for every worker to have seen it: what a claim parks meanwhile is let go like what waited. */
const FRESH_AFTER_MS = 1_000
/** ±10 %, so that endpoints that failed together are not probed together. */
const JITTER = 0.1

export interface HealthCircumstances {
  /** By the database's clock, like every time here. */
  nowMs: number
  policy: HealthPolicy
  /** Uniform in [0, 1): the jitter. */
  random: number
}

/**
 * The health of an endpoint after something happened to it: a circuit breaker.
 *
 * closed: everything is attempted. open: nothing is, until `probeAtMs`. half open: one delivery is, and
 * with each that succeeds more, in the order of acceptance, until none waits; then closed. What is accepted
 * once the first has succeeded does not wait behind them.
 *
 * What was under way when the state changed says nothing about the new one, and is told by its start.
 */
export function nextHealth(
  health: EndpointHealth,
  event: HealthEvent,
  circumstances: HealthCircumstances,
): EndpointHealth {
  switch (event.kind) {
    case 'success':
      return afterAnswer({ ...health, failingSinceMs: null }, event, circumstances)
    case 'refusal': {
      const failingSinceMs = health.failingSinceMs ?? circumstances.nowMs
      return afterAnswer({ ...health, failingSinceMs }, event, circumstances)
    }
    case 'failure':
      return afterFailure(health, event, circumstances)
    case 'probeDue':
      return health.probeAtMs !== null && circumstances.nowMs >= health.probeAtMs
        ? probing(health, circumstances)
        : health
    case 'released':
      return health.state === 'half_open' ? afterRelease(health, event, circumstances) : health
  }
}

/** Nothing is worth remembering of it. */
export function isHealthy(health: EndpointHealth, nowMs: number, policy: HealthPolicy): boolean {
  return (
    health.state === 'closed' &&
    health.failingSinceMs === null &&
    health.windowSinceMs === null &&
    (health.sinceMs === null || nowMs - health.sinceMs >= policy.windowMs)
  )
}

/** How many more deliveries may be let go. */
export function releaseRoom(health: EndpointHealth): number {
  return health.state === 'half_open' ? Math.max(0, health.releaseLimit - health.released) : 0
}

/** Has it done nothing but fail for so long that it is to be disabled? With the reason for its owner. */
export function disableReason(
  health: EndpointHealth,
  nowMs: number,
  policy: HealthPolicy,
): string | undefined {
  const { failingSinceMs } = health
  if (policy.disableAfterMs === null || failingSinceMs === null) return undefined
  if (nowMs - failingSinceMs < policy.disableAfterMs) return undefined
  return `Every attempt since ${new Date(failingSinceMs).toISOString()} failed.`
}

/** An outcome as the breaker sees it. */
export function healthEvent(outcome: Outcome, attempted: Attempted, policy: HealthPolicy): HealthEvent {
  if (outcome.kind === 'failed') {
    const kind = NOT_THE_ENDPOINTS_STATE.has(outcome.code) ? 'refusal' : 'failure'
    return { kind, ...attempted, reason: `The last attempt failed: ${outcome.code}.` }
  }
  const { status, retryAfterMs } = outcome
  if (status >= 200 && status <= 299) return { kind: 'success', ...attempted }
  const reason = `The last attempt was answered with ${status}.`
  if (status < 500 && status !== 429) return { kind: 'refusal', ...attempted, reason }
  const holdMs = retryAfterMs ?? (ASKS_TO_WAIT.has(status) ? policy.throttledMs : undefined)
  return { kind: 'failure', ...attempted, reason, ...(holdMs !== undefined && { holdMs }) }
}

/** It has too much to do, or what stands before it cannot reach it. */
const ASKS_TO_WAIT = new Set([429, 502, 503, 504])

/** Nothing was tried: it is set to what cannot be sent or may not be reached, or our own proxy is away. */
const NOT_THE_ENDPOINTS_STATE = new Set(['address_refused', 'invalid_request', 'proxy_failed'])

/** The endpoint is there, whether it took the message or not. */
function afterAnswer(
  health: EndpointHealth,
  { deliveryId, startedAtMs }: Attempted,
  { nowMs, policy }: HealthCircumstances,
): EndpointHealth {
  const answered = { ...health, failures: 0 }
  switch (health.state) {
    case 'closed':
      return counted(answered, 0, nowMs, policy)
    case 'open':
      return answered
    case 'half_open':
      if (startedAtMs < (health.sinceMs ?? 0)) return answered
      return {
        ...counted(answered, 0, nowMs, policy),
        probeAtMs: nowMs + policy.newsMs,
        ...(!isFresh(health, deliveryId) && {
          // Each success makes room for one more beside the one that it frees: 1, 2, 4, 8, …
          releaseLimit: Math.min(health.releaseLimit + 1, policy.releaseMax),
          released: Math.max(0, health.released - 1),
          freshAfter: health.freshAfter ?? lowestId(nowMs + FRESH_AFTER_MS),
        }),
      }
  }
}

function afterFailure(
  health: EndpointHealth,
  { deliveryId, startedAtMs, reason, holdMs }: HealthEvent & { kind: 'failure' },
  circumstances: HealthCircumstances,
): EndpointHealth {
  const { nowMs, policy } = circumstances
  const failed = {
    ...health,
    failingSinceMs: health.failingSinceMs ?? nowMs,
    failures: health.failures + 1,
  }
  if (health.state === 'open') {
    // It was under way when the endpoint was opened. It cannot shorten the time, only ask for a longer one.
    const probeAtMs = Math.max(health.probeAtMs ?? 0, nowMs + (holdMs ?? 0))
    return probeAtMs === health.probeAtMs ? failed : { ...failed, probeAtMs, reason }
  }
  if (health.state === 'half_open' && startedAtMs < (health.sinceMs ?? 0) && holdMs === undefined) {
    return failed
  }
  const now = counted(failed, 1, nowMs, policy)
  const fresh = isFresh(health, deliveryId)
  const isProbe = health.state === 'half_open' && health.releaseLimit <= 1 && !fresh
  if (isProbe || isTooMuch(now, policy)) return opened(now, reason, holdMs ?? 0, true, circumstances)
  // It asks to be left alone for a time of its own choice, which says nothing about how ill it is.
  if (holdMs !== undefined) {
    return opened(now, reason, holdMs, health.state === 'half_open', circumstances)
  }
  if (health.state === 'closed') return now
  return {
    ...now,
    releaseLimit: Math.max(1, Math.floor(health.releaseLimit / 2)),
    released: Math.max(0, health.released - (fresh ? 0 : 1)),
    probeAtMs: nowMs + policy.newsMs,
  }
}

/** It was not let go, since it never waited. */
function isFresh({ freshAfter }: EndpointHealth, deliveryId: string): boolean {
  return freshAfter !== null && deliveryId > freshAfter
}

/** Counts an attempt. A window begins with a failure, so that a healthy endpoint has nothing to count. */
function counted(
  health: EndpointHealth,
  failures: 0 | 1,
  nowMs: number,
  policy: HealthPolicy,
): EndpointHealth {
  const { windowSinceMs } = health
  if (windowSinceMs !== null && nowMs - windowSinceMs < policy.windowMs) {
    return {
      ...health,
      windowAttempts: health.windowAttempts + 1,
      windowFailures: health.windowFailures + failures,
    }
  }
  return failures === 1
    ? { ...health, windowSinceMs: nowMs, windowAttempts: 1, windowFailures: 1 }
    : { ...health, windowSinceMs: null, windowAttempts: 0, windowFailures: 0 }
}

function isTooMuch(health: EndpointHealth, policy: HealthPolicy): boolean {
  return (
    health.failures >= policy.failuresMax ||
    (health.windowAttempts >= policy.windowAttemptsMin &&
      health.windowFailures / health.windowAttempts >= policy.windowFailureRate)
  )
}

function opened(
  health: EndpointHealth,
  reason: string,
  holdMs: number,
  failing: boolean,
  { nowMs, policy, random }: HealthCircumstances,
): EndpointHealth {
  const openings = health.openings + (failing ? 1 : 0)
  const doubledMs = Math.min(policy.openMs * 2 ** Math.min(openings - 1, 30), policy.openMaxMs)
  const openMs = failing ? doubledMs * (1 - JITTER + 2 * JITTER * random) : 0
  return {
    ...health,
    ...NOTHING_RELEASED,
    state: 'open',
    sinceMs: nowMs,
    reason,
    openings,
    probeAtMs: Math.round(nowMs + Math.max(openMs, holdMs)),
  }
}

function probing(health: EndpointHealth, { nowMs, policy }: HealthCircumstances): EndpointHealth {
  return {
    ...health,
    ...NOTHING_COUNTED,
    state: 'half_open',
    sinceMs: nowMs,
    ...NOTHING_RELEASED,
    probeAtMs: nowMs + policy.newsMs,
    releaseLimit: 1,
  }
}

function afterRelease(
  health: EndpointHealth,
  { count, through, drained }: HealthEvent & { kind: 'released' },
  { nowMs }: HealthCircumstances,
): EndpointHealth {
  if (drained && health.freshAfter !== null) {
    return { ...HEALTHY, sinceMs: nowMs, failingSinceMs: health.failingSinceMs }
  }
  // There is nothing to probe with: open, and probed as soon as there is.
  if (drained) return { ...health, ...NOTHING_RELEASED, state: 'open', sinceMs: nowMs, probeAtMs: nowMs }
  return {
    ...health,
    released: health.released + count,
    releasedThrough: through ?? health.releasedThrough,
  }
}

const NOTHING_COUNTED = { failures: 0, windowSinceMs: null, windowAttempts: 0, windowFailures: 0 }
const NOTHING_RELEASED = { releaseLimit: 0, released: 0, releasedThrough: null, freshAfter: null }

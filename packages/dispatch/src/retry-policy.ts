import { delayBefore, type RetryPolicy, withJitter } from '@posthorn/contracts'

/** What came of an attempt, as far as the next state depends on it. */
export type Outcome =
  | { kind: 'answered'; status: number; retryAfterMs?: number }
  /** No whole answer came: `code` says why. */
  | { kind: 'failed'; code: string }

export type NextState =
  | { state: 'delivered' }
  | { state: 'pending'; delayMs: number }
  | { state: 'dead' }
  /** The endpoint asked for no more, ever: it is to be disabled with this reason. */
  | { state: 'dead'; disableEndpoint: string }

const RETRY_AFTER_MAX_MS = 24 * 3_600_000

/**
 * The state of a delivery after its `attempt`th attempt.
 *
 * @param attempt from 1
 * @param random uniform in [0, 1)
 */
export function nextState(outcome: Outcome, attempt: number, policy: RetryPolicy, random: number): NextState {
  if (outcome.kind === 'answered') {
    // Only 2xx is taken for success: a redirect is not followed, so nobody took the message.
    if (outcome.status >= 200 && outcome.status <= 299) return { state: 'delivered' }
    // 410 Gone: Standard Webhooks 1.0.0 asks the sender to disable the endpoint.
    if (outcome.status === 410) return { state: 'dead', disableEndpoint: 'The endpoint answered 410 Gone.' }
  }
  const delayMs = delayBefore(policy, attempt + 1)
  if (delayMs === undefined) return { state: 'dead' }
  const askedMs = outcome.kind === 'answered' ? (outcome.retryAfterMs ?? 0) : 0
  return { state: 'pending', delayMs: Math.round(Math.max(withJitter(policy, delayMs, random), askedMs)) }
}

/**
 * `Retry-After` (RFC 9110, 10.2.3) in milliseconds from now: whole seconds or an HTTP date.
 * Anything else, and what lies in the past, is no wish at all; a day is the most that is honoured.
 */
export function parseRetryAfter(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined
  const text = value.trim()
  const waitMs = /^\d{1,15}$/.test(text) ? Number(text) * 1_000 : httpDateMs(text) - nowMs
  return waitMs > 0 ? Math.min(waitMs, RETRY_AFTER_MAX_MS) : undefined
}

// Date.parse takes far more than HTTP's three forms ("2", "-1", "1e3"); all of them begin with a weekday.
function httpDateMs(text: string): number {
  return /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text) ? Date.parse(text) : Number.NaN
}

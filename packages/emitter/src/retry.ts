const DELAY_MAX_MS = 5_000
const RETRY_AFTER_MAX_MS = 60_000

/**
 * How long to wait before a retry: full jitter over a doubling bound, and after that time where the server
 * named one (`Retry-After`, at most a minute).
 *
 * @param retry 0 for the first retry
 * @param random from 0 up to 1
 */
export function retryDelayMs(
  retry: number,
  meanFirstMs: number,
  random: number,
  retryAfterMs: number = 0,
): number {
  // Full jitter spreads the callers of a service that comes back, so that they do not fell it again.
  const jitterMs = random * Math.min(DELAY_MAX_MS, 2 * meanFirstMs * 2 ** retry)
  return Math.min(retryAfterMs, RETRY_AFTER_MAX_MS) + jitterMs
}

/** Milliseconds in a `Retry-After` header (RFC 9110, section 10.2.3): seconds, or an HTTP date. */
export function parseRetryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined
  const text = value.trim()
  if (/^\d+$/.test(text)) return Number(text) * 1000
  // Date.parse also takes "-1" for a date; HTTP dates start with the weekday.
  const atMs = /^[A-Za-z]/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs)
}

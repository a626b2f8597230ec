import { LRUCache } from 'lru-cache'
import type { ApiContext } from './api.ts'
import { ProblemError } from './problem-details.ts'
import { createSharedCounter } from './shared-counters.ts'

const WINDOW_S = 10
/** Parts of the limit that are counted together. */
const BLOCKS = 100
const KEYS_MAX = 10_000

/** Refuses a request of this actor (see `Principal`) where too many were made. */
export type LimitKeyRate = (actor: string) => ProblemError | undefined

interface Count {
  /** Not shared yet. */
  requests: number
  isSharing: boolean
  blockedUntilMs: number
}

/**
 * At most `apiRateLimit` requests a second with one key, by all processes together, over ten seconds.
 *
 * A request costs an addition in memory. Each process shares its count when it is a hundredth of the limit, and
 * hears the sum of all: so each may let that much through too much, and what comes while it asks.
 */
export function createKeyRateLimit(
  context: Pick<ApiContext, 'store' | 'redis' | 'settings' | 'logger'>,
): LimitKeyRate {
  const { apiRateLimit } = context.settings
  if (apiRateLimit === null) return () => undefined
  const limit = apiRateLimit * WINDOW_S
  const block = Math.max(1, Math.floor(limit / BLOCKS))
  const shared = createSharedCounter(context, { name: 'key', limit, windowS: WINDOW_S })
  const counts = new LRUCache<string, Count>({ max: KEYS_MAX })

  return (actor) => {
    let count = counts.get(actor)
    if (count === undefined) {
      count = { requests: 0, isSharing: false, blockedUntilMs: 0 }
      counts.set(actor, count)
    }
    const waitMs = count.blockedUntilMs === 0 ? 0 : count.blockedUntilMs - performance.now()
    if (waitMs > 0) return tooMany(apiRateLimit, Math.ceil(waitMs / 1_000))
    count.requests += 1
    if (count.requests >= block && !count.isSharing) void share(actor, count)
    return undefined
  }

  async function share(actor: string, count: Count): Promise<void> {
    const { requests } = count
    count.requests = 0
    count.isSharing = true
    try {
      const { consumedPoints, msBeforeNext } = await shared.penalty(actor, requests)
      count.blockedUntilMs = consumedPoints >= limit ? performance.now() + msBeforeNext : 0
    } catch (error) {
      context.logger.warn({ err: error, actor }, 'rate_limit.not_shared')
    } finally {
      count.isSharing = false
    }
  }
}

function tooMany(perSecond: number, seconds: number): ProblemError {
  return new ProblemError(
    'rate_limited',
    `With this key more than ${perSecond} requests a second were made. Send the request again in ${seconds} seconds.`,
    { headers: { 'retry-after': String(seconds) } },
  )
}

import type { FastifyRequest } from 'fastify'
import ipaddr from 'ipaddr.js'
import { RateLimiterRes } from 'rate-limiter-flexible'
import type { ApiContext } from './api.ts'
import { ProblemError } from './problem-details.ts'
import { createSharedCounter } from './shared-counters.ts'
import { sourceAddress } from './source-address.ts'

const WINDOW_S = 60

/** Counts a request without a valid key. @returns why it is refused, where there were too many */
export type LimitFailures = (request: FastifyRequest) => Promise<ProblemError | undefined>

/**
 * At most `authFailureLimit` requests a minute without a valid key from one address, by all processes together.
 *
 * Only failures are counted and refused: a valid key passes from any address, whatever else comes from there.
 * The refusal is the same for every key, and past the limit nothing is asked of a store for it.
 */
export function createFailureLimit(
  context: Pick<ApiContext, 'store' | 'redis' | 'settings' | 'logger'>,
): LimitFailures {
  const { authFailureLimit } = context.settings
  if (authFailureLimit === null) return async () => undefined
  const shared = createSharedCounter(context, {
    name: 'failure',
    limit: authFailureLimit,
    windowS: WINDOW_S,
    blocksInMemory: true,
  })
  return async (request) => {
    try {
      await shared.consume(networkOf(sourceAddress(request)))
      return undefined
    } catch (error) {
      if (error instanceof RateLimiterRes) return tooMany(Math.max(1, Math.ceil(error.msBeforeNext / 1_000)))
      context.logger.warn({ err: error }, 'failure_limit.not_counted')
      return undefined
    }
  }
}

/** Whoever has an IPv6 address has 2 ** 64 of them: their network counts. */
export function networkOf(address: string): string {
  if (!ipaddr.isValid(address)) return 'unknown'
  const parsed = ipaddr.process(address)
  return parsed instanceof ipaddr.IPv6
    ? parsed.parts
        .slice(0, 4)
        .map((part) => part.toString(16))
        .join(':')
    : parsed.toString()
}

function tooMany(seconds: number): ProblemError {
  return new ProblemError(
    'too_many_failures',
    `From this address too many requests came without a valid API key. A request with a valid one is answered as always; try another in ${seconds} seconds.`,
    { headers: { 'retry-after': String(seconds) } },
  )
}

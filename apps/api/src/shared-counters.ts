import {
  type IRateLimiterStoreOptions,
  type RateLimiterAbstract,
  RateLimiterMemory,
  RateLimiterPostgres,
  RateLimiterRedis,
} from 'rate-limiter-flexible'
import type { ApiContext } from './api.ts'

/** Counts that all processes of the API share, in windows of `windowS`. */
export interface CounterOptions {
  /** Two counters with one name are the same. */
  name: string
  limit: number
  windowS: number
  /** Past the limit a key is not counted any more: it is remembered in this process until its window ends. */
  blocksInMemory?: boolean
}

/**
 * In Redis where there is one, otherwise in PostgreSQL. While that cannot be asked, each process counts for
 * itself: a limit is then as many times as high as there are processes, and nobody is refused for it.
 */
export function createSharedCounter(
  { store, redis }: Pick<ApiContext, 'store' | 'redis'>,
  { name, limit, windowS, blocksInMemory = false }: CounterOptions,
): RateLimiterAbstract {
  const base = { points: limit, duration: windowS, keyPrefix: `posthorn:rate:${name}` }
  const options: Omit<IRateLimiterStoreOptions, 'storeClient'> = {
    ...base,
    ...(blocksInMemory && { inMemoryBlockOnConsumed: limit }),
    insuranceLimiter: new RateLimiterMemory(base),
  }
  return redis === undefined
    ? new RateLimiterPostgres({
        ...options,
        storeClient: store.pool,
        storeType: 'pool',
        tableName: 'rate_counts',
        // The migration made it.
        tableCreated: true,
      })
    : new RateLimiterRedis({ ...options, storeClient: redis, rejectIfRedisNotReady: true })
}

import { randomBytes } from 'node:crypto'
import { describe, inject } from 'vitest'
import { findRedisServer } from './start-redis.ts'

import './provided-context.ts'

export type TestBackend = {
  name: 'postgres' | 'redis'
  /** The run's shared Redis, on the Redis backend only. Others use it at the same time: no FLUSHALL there. */
  redisUrl?: string
  /** A BullMQ prefix that no other suite of the run uses. */
  queuePrefix: string
}

/** Whether the run has a Redis to test with. */
export function redisAvailable(): boolean {
  return (inject('redisUrl') ?? '') !== ''
}

/** Whether startRedis() can be called: a REDIS_URL alone gives no server of our own to kill. */
export function ownRedisAvailable(): boolean {
  return findRedisServer() !== undefined
}

/** Runs a suite on the Postgres backend, and on Redis when the run has one. */
export function describeEachBackend(suite: (backend: TestBackend) => void): void {
  const queuePrefix = `test-${randomBytes(6).toString('hex')}`
  describe('on postgres', () => suite({ name: 'postgres', queuePrefix }))
  if (!redisAvailable()) return
  describe('on redis', () => suite({ name: 'redis', redisUrl: inject('redisUrl'), queuePrefix }))
}

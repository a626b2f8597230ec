import { setTimeout as delay } from 'node:timers/promises'
import type { Fault } from '../fault.ts'

export const redisFaults: Fault[] = [
  // It comes back with what was in its append-only file, or empty.
  killed('redis-killed-with-aof', 'yes'),
  killed('redis-killed-without-aof', 'no'),
  {
    name: 'redis-flushed',
    backend: 'redis',
    async inject({ redisCommand }, random) {
      await delay(random.between(0, 500))
      await redisCommand('FLUSHALL')
    },
  },
  {
    // Every write is answered with OOM.
    name: 'redis-full',
    backend: 'redis',
    async inject({ redisCommand }, random) {
      await redisCommand('CONFIG', 'SET', 'maxmemory', '1')
      await delay(random.between(1_000, 3_000))
      await redisCommand('CONFIG', 'SET', 'maxmemory', '0')
    },
  },
]

function killed(name: string, appendonly: 'yes' | 'no'): Fault {
  return {
    name,
    backend: 'redis',
    async inject({ redis }, random) {
      await redis.kill()
      await delay(random.between(0, 1_500))
      await redis.restart({ appendonly })
    },
  }
}

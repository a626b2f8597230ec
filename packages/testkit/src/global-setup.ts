import type { TestProject } from 'vitest/node'
import { startPostgres } from './start-postgres.ts'
import { answersPing, findRedisServer, startRedis } from './start-redis.ts'

import './provided-context.ts'

/** Starts the run's PostgreSQL, and its Redis where there can be one; answers what stops them. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const redis = await provideRedis()
  const postgres = await startPostgres()
  project.provide('postgresUrl', postgres.url)
  project.provide('redisUrl', redis?.url ?? '')
  return async () => {
    await Promise.all([postgres.stop(), redis?.stop()])
  }
}

async function provideRedis(): Promise<{ url: string; stop(): Promise<void> } | undefined> {
  const given = process.env.REDIS_URL
  if (given !== undefined && given !== '') {
    if (!(await answersPing(given))) throw new Error('REDIS_URL is set, and no Redis answers there')
    return { url: given, stop: () => Promise.resolve() }
  }
  if (findRedisServer() !== undefined) return await startRedis({ settings: { appendonly: 'no' } })
  if (process.env.POSTHORN_TEST_REDIS === 'required') {
    throw new Error('POSTHORN_TEST_REDIS=required, and there is neither redis-server on PATH nor REDIS_URL')
  }
  process.stdout.write('The Redis tests are left out, because there is no redis-server on PATH.\n')
  return undefined
}

import { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ownRedisAvailable, startRedis } from '../src/index.ts'

async function connect(url: string): Promise<Redis> {
  const client = new Redis(url, { retryStrategy: () => null })
  client.on('error', () => {})
  onTestFinished(() => client.disconnect())
  await client.ping()
  return client
}

describe.runIf(ownRedisAvailable())('a Redis of its own', () => {
  it('keeps what was written over kill -9, does not evict, and is gone after stop()', async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.stop())
    const before = await connect(redis.url)
    await before.set('kept', 'yes')
    expect(await before.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction'])
    await redis.kill()
    await expect(connect(redis.url)).rejects.toThrow()
    await redis.restart()
    expect(await (await connect(redis.url)).get('kept')).toBe('yes')
    await redis.stop()
    await expect(connect(redis.url)).rejects.toThrow()
  })

  it('comes back empty when it is restarted without its append-only file', async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.stop())
    await (await connect(redis.url)).set('kept', 'yes')
    await redis.kill()
    await redis.restart({ appendonly: 'no' })
    expect(await (await connect(redis.url)).get('kept')).toBe(null)
  })

  it('takes settings, and says why it does not start', async () => {
    const redis = await startRedis({ settings: { appendonly: 'no' } })
    onTestFinished(() => redis.stop())
    const client = await connect(redis.url)
    expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'no'])
    await expect(startRedis({ settings: { appendfsync: 'now and then' } })).rejects.toThrow(
      /FATAL|appendfsync/,
    )
  })
})

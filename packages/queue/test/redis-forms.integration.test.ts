import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger } from '@posthorn/runtime'
import { freePort, ownRedisAvailable, startRedis, type TestRedis, waitFor } from '@posthorn/testkit'
import { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { createDeliveryQueue, createDeliveryWorker, createQueueBackend } from '../src/index.ts'

const DELIVERY = '0199c0de-0000-7000-8000-000000000001'

/** Sends one chunk through the queue that `url` names. */
async function roundTrip(url: string): Promise<string[]> {
  const backend = createQueueBackend({ kind: 'redis', url }, createLogger({ level: 'error', name: 'test' }))
  const queue = createDeliveryQueue(backend)
  const { promise, resolve } = Promise.withResolvers<string[]>()
  const worker = createDeliveryWorker(backend, { concurrency: 1 }, async (ids) => resolve(ids))
  try {
    await queue.enqueue([DELIVERY])
    return await promise
  } finally {
    await worker.close()
    await queue.close()
  }
}

describe.runIf(ownRedisAvailable())('with a Redis of our own', () => {
  test('REDIS_URL may name a Cluster: all keys of the queue are in one slot', async () => {
    const redis = await startRedis({
      settings: { 'cluster-enabled': 'yes', 'cluster-announce-ip': '127.0.0.1' },
    })
    try {
      await onRedis(redis, async (client) => {
        await client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
        await waitFor(async () => String(await client.call('CLUSTER', 'INFO')).includes('cluster_state:ok'))
      })
      expect(await roundTrip(`redis+cluster://127.0.0.1:${redis.port}`)).toEqual([DELIVERY])
    } finally {
      await redis.stop()
    }
  })

  test('REDIS_URL may name a master by one of its Sentinels', async () => {
    const redis = await startRedis()
    const sentinel = await startSentinel(redis)
    try {
      expect(await roundTrip(`redis+sentinel://127.0.0.1:${sentinel.port}/posthorn`)).toEqual([DELIVERY])
    } finally {
      await sentinel.stop()
      await redis.stop()
    }
  })
})

async function onRedis(redis: { url: string }, act: (client: Redis) => Promise<void>): Promise<void> {
  const client = new Redis(redis.url)
  try {
    await act(client)
  } finally {
    client.disconnect()
  }
}

async function startSentinel(master: TestRedis): Promise<{ port: number; stop(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'posthorn-sentinel-'))
  const port = await freePort()
  const file = join(directory, 'sentinel.conf')
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${directory}`,
    `sentinel monitor posthorn 127.0.0.1 ${master.port} 1`,
  ]
  await writeFile(file, lines.join('\n'))
  const child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' })
  await onRedis({ url: `redis://127.0.0.1:${port}` }, async (client) => {
    client.on('error', () => {})
    await waitFor(async () => (await client.ping()) === 'PONG')
  })
  return {
    port,
    async stop() {
      child.kill()
      await once(child, 'exit')
      await rm(directory, { recursive: true })
    },
  }
}

import {
  EMIT_ATTEMPTS,
  EMIT_BACKOFF,
  EMIT_JOB,
  EMIT_QUEUE,
  type EmitJob,
  QUEUE_PREFIX,
  QUEUE_SCHEMA,
} from '@posthorn/contracts'
import { createDatabase, ownRedisAvailable, startRedis, type TestRedis } from '@posthorn/testkit'
import { createPostgresBackend, createRedisBackend, Queue, runMigrations } from 'bullmq'
import { Redis } from 'ioredis'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Posthorn, type QueueTarget } from '../src/index.ts'

const limits = { timeoutMs: 1_000, deadlineMs: 20_000, retries: 2, retryDelayMs: 1 }
const connect = (queue: QueueTarget, options = {}) => new Posthorn({ queue, ...limits, ...options })

/** What a store holds, seen as the platform's worker sees it. */
interface Backend {
  target: QueueTarget
  queue: Queue
  close(): Promise<void>
}

function describeQueue(name: string, start: () => Promise<Backend>) {
  describe(`a queue on ${name}`, () => {
    let backend: Backend
    let posthorn: Posthorn
    beforeAll(async () => {
      backend = await start()
    })
    beforeEach(async () => {
      posthorn = connect(backend.target)
      await backend.queue.drain()
    })
    afterEach(() => posthorn.close())
    afterAll(() => backend?.close())

    const jobs = () => backend.queue.getJobs(['waiting'], 0, -1, true)
    const messages = async () => (await jobs()).flatMap((job) => (job.data as EmitJob).messages)

    test('gets an event as a job with its data serialised', async () => {
      const message = await posthorn.emit('pay_info.paid', { name: 'Zoë', n: 1 }, { owner: 'acme' })
      expect(message).toEqual({ id: expect.stringMatching(/^msg_/), owner: 'acme', type: 'pay_info.paid' })
      const [job, ...others] = await jobs()
      expect(others).toEqual([])
      expect(job!.name).toBe(EMIT_JOB)
      expect(job!.data).toEqual({
        messages: [
          { ...message, data: '{"name":"Zoë","n":1}', timestamp: expect.stringMatching(/^\d{4}-.*Z$/) },
        ],
      })
      expect(job!.opts).toMatchObject({
        attempts: EMIT_ATTEMPTS,
        backoff: { type: EMIT_BACKOFF },
        removeOnComplete: true,
        removeOnFail: { count: 10_000 },
      })
    })

    test("gets an event under the application's own id the same each time", async () => {
      const options = { owner: 'acme', id: 'order:1:paid' }
      await posthorn.emit('pay_info.paid', { n: 1 }, options)
      await posthorn.emit('pay_info.paid', { n: 1 }, options)
      const [first, second] = await messages()
      expect(first).toEqual({ id: 'order:1:paid', owner: 'acme', type: 'pay_info.paid', data: '{"n":1}' })
      expect(second).toEqual(first)
    })

    test('gets concurrent events in shared jobs, each once', async () => {
      const emitted = await Promise.all(
        Array.from({ length: 500 }, (_, n) => posthorn.emit('a', { n }, { owner: 'acme' })),
      )
      expect((await jobs()).length).toBeLessThan(50)
      expect((await messages()).map(({ id }) => id).sort()).toEqual(emitted.map(({ id }) => id).sort())
    })

    test('is not used any more after close', async () => {
      await posthorn.emit('a', {}, { owner: 'acme' })
      await posthorn.close()
      await expect(posthorn.emit('a', {}, { owner: 'acme' })).rejects.toMatchObject({ code: 'closed' })
    })
  })
}

describeQueue('PostgreSQL', async () => {
  const database = await createDatabase()
  const client = new pg.Client(database.url)
  await client.connect()
  await runMigrations(client, QUEUE_SCHEMA)
  await client.end()
  const connection = { connectionString: database.url, schema: QUEUE_SCHEMA }
  const queue = new Queue(EMIT_QUEUE, { connection }, createPostgresBackend) as unknown as Queue
  return {
    target: { databaseUrl: database.url },
    queue,
    async close() {
      await queue.close()
      await database.drop()
    },
  }
})

describe('PostgreSQL without what the emitter needs', () => {
  test('says that the platform has not made the queue, and makes nothing itself', async () => {
    const database = await createDatabase()
    const posthorn = connect({ databaseUrl: database.url })
    await expect(posthorn.emit('a', {}, { owner: 'acme' })).rejects.toMatchObject({
      code: 'queue_not_migrated',
    })
    await posthorn.close()
    const client = new pg.Client(database.url)
    await client.connect()
    const { rows } = await client.query('SELECT 1 FROM pg_namespace WHERE nspname = $1', [QUEUE_SCHEMA])
    await client.end()
    expect(rows).toEqual([])
    await database.drop()
  })

  test('a server that is not there is queue_unavailable, without the password', async () => {
    const posthorn = connect({ databaseUrl: 'postgres://user:hunter2@127.0.0.1:1/db' })
    const error = await posthorn.emit('a', {}, { owner: 'acme' }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'queue_unavailable', retryable: true })
    expect(String(error)).not.toContain('hunter2')
    await posthorn.close()
  })
})

describe.skipIf(!ownRedisAvailable())('Redis', () => {
  describeQueue('Redis', async () => {
    const redis = await startRedis()
    const client = new Redis(redis.url)
    const queue = new Queue(EMIT_QUEUE, { connection: client, prefix: QUEUE_PREFIX }, createRedisBackend)
    return {
      target: { redisUrl: redis.url },
      queue,
      async close() {
        await queue.close()
        client.disconnect()
        await redis.stop()
      },
    }
  })

  describe('that goes away', () => {
    let redis: TestRedis
    beforeEach(async () => {
      redis = await startRedis()
    })
    afterEach(() => redis.stop())

    test('fails an emit within its retries, and serves the next one when it is back', async () => {
      const posthorn = connect({ redisUrl: redis.url })
      await posthorn.emit('a', { n: 1 }, { owner: 'acme' })
      await redis.kill()
      await expect(posthorn.emit('a', { n: 2 }, { owner: 'acme' })).rejects.toMatchObject({
        code: 'queue_unavailable',
        retryable: true,
        messageId: expect.stringMatching(/^msg_/),
      })
      await redis.restart()
      await expect
        .poll(() => posthorn.emit('a', { n: 3 }, { owner: 'acme', id: 'third' }).catch(() => undefined), {
          timeout: 15_000,
        })
        .toMatchObject({ id: 'third' })
      await posthorn.close()
    })

    test('and was not there at the first emit either', async () => {
      await redis.kill()
      const posthorn = connect({ redisUrl: redis.url })
      const error = await posthorn.emit('a', {}, { owner: 'acme' }).catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'queue_unavailable', retryable: true })
      expect(String(error)).toContain('ECONNREFUSED')
      await redis.restart()
      expect(await posthorn.emit('a', {}, { owner: 'acme', id: 'later' })).toMatchObject({ id: 'later' })
      await posthorn.close()
    })
  })

  test('that asks for a password is queue_unavailable, without the one it was given', async () => {
    const redis = await startRedis()
    const client = new Redis(redis.url)
    await client.config('SET', 'requirepass', 'right')
    client.disconnect()
    const posthorn = connect({ redisUrl: redis.url.replace('redis://', 'redis://:hunter2@') })
    const error = await posthorn.emit('a', {}, { owner: 'acme' }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'queue_unavailable' })
    expect(String(error)).toMatch(/WRONGPASS|invalid/)
    expect(String(error)).not.toContain('hunter2')
    await posthorn.close()
    await redis.stop()
  })
})

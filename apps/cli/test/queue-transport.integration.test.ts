import { Posthorn, type QueueTarget } from '@posthorn/emitter'
import { createQueueBackend } from '@posthorn/queue'
import { createLogger } from '@posthorn/runtime'
import { verify } from '@posthorn/signing'
import {
  createDatabase,
  ownRedisAvailable,
  type Receiver,
  startReceiver,
  startRedis,
  TEST_MASTER_KEY,
} from '@posthorn/testkit'
import { describe, expect, onTestFinished, test } from 'vitest'
import { makeDataDir, spawnPosthorn } from './spawn-posthorn.ts'

type Events = { 'pay_info.paid': { order_num: string } }
/** Of contracts/src/emit-queue.ts: a name that applications rely on. */
const EMIT_QUEUE = 'posthorn-emit'
const KEY = 'phk_of-this-test-and-no-other'

describe.each(ownRedisAvailable() ? ['postgres', 'redis'] : ['postgres'])(
  'emitting into BullMQ on %s',
  (kind) => {
    test('reaches the receiver; what is refused is logged and stays visible', async () => {
      const { target, env } = await startStores(kind)
      const posthorn = spawnPosthorn({ onTestFinished }, ['start'], env)
      const url = (await posthorn.waitForLine(/^Posthorn is ready: +(\S+)$/))[1]!
      const receiver = await startReceiver()
      onTestFinished(() => receiver.close())
      const secret = await register(url, receiver)
      const application = new Posthorn<Events>({ queue: target })
      onTestFinished(() => application.close())

      const emitted = await application.emit('pay_info.paid', { order_num: '7' }, { owner: 'acme' })
      const again = { owner: 'acme', id: 'order-8-paid' }
      await application.emit('pay_info.paid', { order_num: '8' }, again)
      await application.emit('pay_info.paid', { order_num: '8' }, again)
      await application.emit('pay_info.paid', { order_num: '9' }, { owner: 'nobody' })
      const requests = await receiver.waitFor(2)
      const received = requests.map(({ body, headers }) => verify(body, headers, secret))
      expect(received).toContainEqual(expect.objectContaining({ data: { order_num: '7' } }))
      expect(received).toContainEqual(expect.objectContaining({ data: { order_num: '8' } }))
      expect(requests.map(({ headers }) => headers['webhook-id'])).toContain(emitted.id)

      const line = (await posthorn.waitForLine(/.*emit\.refused.*/))[0]
      expect(JSON.parse(line)).toMatchObject({
        owner: 'nobody',
        type: 'pay_info.paid',
        reason: 'unknown_owner',
      })
      const queue = openQueue(target)
      onTestFinished(() => queue.close())
      await expect
        .poll(async () => (await queue.getFailed()).map(({ failedReason }) => failedReason))
        .toEqual([expect.stringMatching(/^msg_\w+: unknown_owner$/)])
      await expect
        .poll(() => queue.getJobCounts('waiting', 'active', 'delayed'))
        .toEqual({ waiting: 0, active: 0, delayed: 0 })
      expect(receiver.requests).toHaveLength(2)
    })
  },
)

async function startStores(kind: string): Promise<{ target: QueueTarget; env: Record<string, string> }> {
  const database = await createDatabase()
  onTestFinished(() => database.drop())
  const env = {
    DATABASE_URL: database.url,
    POSTHORN_DATA_DIR: await makeDataDir({ onTestFinished }),
    POSTHORN_PORT: '0',
    POSTHORN_API_KEY: KEY,
    POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
    POSTHORN_EGRESS_ALLOW: '127.0.0.0/8',
  }
  if (kind === 'postgres') return { target: { databaseUrl: database.url }, env }
  const redis = await startRedis()
  onTestFinished(() => redis.stop())
  return { target: { redisUrl: redis.url }, env: { ...env, REDIS_URL: redis.url } }
}

/** @returns the endpoint's secret */
async function register(url: string, receiver: Receiver): Promise<string> {
  const post = async (path: string, body: object) => {
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect(response.status).toBe(201)
    return (await response.json()) as { secret: string }
  }
  await post('/v1/event-types', { name: 'pay_info.paid' })
  await post('/v1/owners', { uid: 'acme' })
  const endpoint = { url: receiver.url, eventTypes: ['pay_info.paid'] }
  return (await post('/v1/owners/acme/endpoints', endpoint)).secret
}

function openQueue(target: QueueTarget) {
  const connection =
    target.redisUrl === undefined
      ? { kind: 'postgres' as const, url: target.databaseUrl }
      : { kind: 'redis' as const, url: target.redisUrl }
  return createQueueBackend(connection, createLogger({ level: 'error', name: 'test' })).createQueue(
    EMIT_QUEUE,
  )
}

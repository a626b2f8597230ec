import { once } from 'node:events'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { encodeId, QUEUE_PREFIX, QUEUE_SCHEMA } from '@posthorn/contracts'
import {
  type NodeProcess,
  type Receiver,
  spawnNode,
  startReceiver,
  startRedis,
  TEST_MASTER_KEY,
  type TestBackend,
  type TestRedis,
} from '@posthorn/testkit'
import { EVENT_TYPE, startTestPlatform, type TestPlatform } from './test-platform.ts'

const MAIN = fileURLToPath(new URL('../../cli/src/main.ts', import.meta.url))

/** Acceptance in this process, a receiver, and workers in processes of their own, to be killed. */
export interface KillField {
  platform: TestPlatform
  receiver: Receiver
  /** On the Redis backend: a server of this test's own. */
  redis: TestRedis | undefined
  ownerId: string
  /** @returns a worker that is ready */
  startWorkerProcess(env?: Record<string, string>): Promise<NodeProcess>
  /** Emits `count` messages, which have to be accepted. @returns their ids */
  emitMany(count: number): Promise<string[]>
  /** How many deliveries are in each state. */
  countStates(): Promise<Record<string, number>>
  /** How many deliveries a worker holds. */
  countHeld(): Promise<number>
  /** FLUSHALL, or the same on the Postgres backend. */
  loseJobs(): Promise<void>
  /** As a restart of the server does it. */
  endConnections(): Promise<void>
  /** Sessions of BullMQ's workers that are subscribed to new jobs. */
  countListeners(): Promise<number>
  close(): Promise<void>
}

/** Short, so that what a dead worker held is free again soon. */
const LEASE = { POSTHORN_LEASE: '3s', POSTHORN_ATTEMPT_TIMEOUT: '2s' }

export async function startKillField(backend: TestBackend): Promise<KillField> {
  const redis = backend.name === 'redis' ? await startRedis() : undefined
  // The prefix of the program itself: its processes share the queue with this one.
  const platform = await startTestPlatform(
    { ...backend, ...(redis !== undefined && { redisUrl: redis.url }) },
    {},
    { queuePrefix: QUEUE_PREFIX },
  )
  const receiver = await startReceiver()
  const ownerId = await platform.addOwner('acme')
  const workers: NodeProcess[] = []
  const count = async (text: string) => {
    const { rows } = await platform.store.pool.query<{ count: number }>(text)
    return rows[0]!.count
  }

  return {
    platform,
    receiver,
    redis,
    ownerId,
    async startWorkerProcess(env = {}) {
      const worker = spawnNode(MAIN, ['worker'], {
        env: {
          DATABASE_URL: platform.database.url,
          REDIS_URL: redis?.url,
          POSTHORN_EGRESS_ALLOW: '127.0.0.0/8',
          POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
          ...LEASE,
          ...env,
        },
      })
      workers.push(worker)
      await worker.waitForLine(/worker\.ready/)
      return worker
    },
    emitMany: (count) =>
      Promise.all(
        Array.from({ length: count }, async (_, n) => {
          const result = await platform.emit(EVENT_TYPE, { n })
          if (result.kind !== 'accepted') throw new Error(`not accepted: ${result.kind}`)
          return encodeId('msg', result.message.id)
        }),
      ),
    async countStates() {
      const counts: Record<string, number> = {}
      for (const { state } of await platform.deliveries()) counts[state] = (counts[state] ?? 0) + 1
      return counts
    },
    async countHeld() {
      return await count(`SELECT count(*)::int FROM deliveries_pending WHERE claim IS NOT NULL`)
    },
    async loseJobs() {
      if (redis === undefined) {
        await platform.store.pool.query(`TRUNCATE ${QUEUE_SCHEMA}.job CASCADE`)
        return
      }
      // An inline command of Redis' protocol.
      const socket = connect(redis.port, '127.0.0.1').end('FLUSHALL\r\n').setEncoding('utf8')
      const [answer] = (await once(socket, 'data')) as [string]
      if (answer !== '+OK\r\n') throw new Error(`FLUSHALL answered ${answer}`)
    },
    async endConnections() {
      await platform.store.pool.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      )
    },
    countListeners: () =>
      count(
        `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'LISTEN\\s'`,
      ),
    async close() {
      for (const worker of workers) worker.kill('SIGKILL')
      await Promise.all(workers.map((worker) => worker.exited))
      await receiver.close()
      await platform.close()
      await redis?.stop()
    },
  }
}

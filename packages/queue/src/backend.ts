import { setTimeout as delay } from 'node:timers/promises'
import { QUEUE_PREFIX, QUEUE_SCHEMA } from '@posthorn/contracts'
import type { Logger } from '@posthorn/runtime'
import {
  createPostgresBackend,
  createRedisBackend,
  type Job,
  type Processor,
  Queue,
  type QueueOptions,
  runMigrations,
  Worker,
  type WorkerOptions,
  withBackend,
} from 'bullmq'
import pg from 'pg'
import { connectRedis } from './redis.ts'

/** The one place that knows which store holds the queue. */
export type QueueConnection =
  /** `prefix` of all keys: in braces, so that a Cluster keeps them in one slot. */
  { kind: 'redis'; url: string; prefix?: string } | { kind: 'postgres'; url: string }

export interface QueueBackend {
  /** Fewest milliseconds between two jobs of deliveries: what a job costs, whatever is in it, decides. */
  readonly jobEveryMs: number
  /** Makes what the queue needs in its store. Safe to call from many processes at once. */
  prepare(): Promise<void>
  createQueue<Data>(name: string): Queue<Data>
  /**
   * False while the store of the queue is known to be away. A caller that adds jobs asks first, so that
   * it fails at once instead of keeping them in memory until the store is back.
   */
  isReachable(): boolean
  createWorker<Data>(
    name: string,
    process: (job: Job<Data>) => Promise<void>,
    options: { concurrency: number },
  ): Worker<Data>
}

export function createQueueBackend(connection: QueueConnection, logger: Logger): QueueBackend {
  return connection.kind === 'redis'
    ? redisBackend(connection.url, connection.prefix ?? QUEUE_PREFIX, logger)
    : postgresBackend(connection.url, logger)
}

const QUEUE_OPTIONS = {
  defaultJobOptions: {
    // Jobs are hints; what they were about is in the database.
    removeOnComplete: true,
    removeOnFail: { count: 1_000 },
    attempts: 1,
    stackTraceLimit: 0,
  },
  // BullMQ writes an event for every step of a job; nobody here reads them.
  streams: { events: { maxLen: 10 } },
} satisfies Partial<QueueOptions>

const WORKER_OPTIONS = {
  lockDuration: 30_000,
  stalledInterval: 15_000,
  // A job whose worker died is run again by whoever notices. It only claims what is still due,
  // so running it often does no harm; giving it up would only wait for the sweep.
  maxStalledCount: 10,
  drainDelay: 5,
  // After a refused connection. BullMQ's own 15 s would outlast the restart of a database.
  runRetryDelay: 1_000,
  settings: {
    // For the jobs that are run again, the emitter's: soon at first, every half minute at last.
    // Whole milliseconds: PostgreSQL takes no others.
    backoffStrategy: (attempts) =>
      Math.round(Math.min(100 * 2 ** attempts, 30_000) * (0.75 + Math.random() / 2)),
  },
} satisfies Partial<WorkerOptions>

/** Of ioredis: it was tried and is not there. Before the first try is over, BullMQ waits for it. */
const LOST = new Set(['close', 'reconnecting', 'end'])

function redisBackend(url: string, prefix: string, logger: Logger): QueueBackend {
  const producers = new Set<ReturnType<typeof connectRedis>>()
  return {
    jobEveryMs: 1,
    prepare: async () => {},
    isReachable: () => ![...producers].some((client) => LOST.has(client.status)),
    createQueue<Data>(name: string) {
      // With Redis away a producer fails at once and leaves the deliveries to the sweep.
      const client = connectRedis(url, { enableOfflineQueue: false, maxRetriesPerRequest: 1 })
      producers.add(client)
      const queue = new Queue<Data>(
        name,
        { ...QUEUE_OPTIONS, connection: client, prefix },
        createRedisBackend,
      )
      return attend(queue, logger, name, () => {
        producers.delete(client)
        client.disconnect()
      })
    },
    createWorker<Data>(name: string, process: Processor<Data>, options: { concurrency: number }) {
      const client = connectRedis(url, { enableOfflineQueue: true, maxRetriesPerRequest: null })
      const worker = new Worker<Data>(
        name,
        process,
        { ...WORKER_OPTIONS, ...options, connection: client, prefix },
        createRedisBackend,
      )
      return attend(worker, logger, name, () => client.disconnect())
    },
  }
}

/** What of BullMQ's backend on PostgreSQL its types do not have. */
interface PostgresParts {
  pool: pg.Pool
}

/**
 * BullMQ keeps the first try to connect, also when it failed: a worker that meets a database in the middle of
 * a restart would then fail at every step for ever, without a pause in which anything else could run. So a
 * failed try is forgotten, after a moment.
 */
const createRetryingPostgresBackend: typeof createPostgresBackend = (name, options, factoryOptions) => {
  const backend = createPostgresBackend(name, options, factoryOptions)
  const { connection } = backend
  const { pool } = connection as unknown as PostgresParts
  // A connection that breaks while BullMQ holds it would end the process: only idle ones have a listener.
  pool.on('connect', (client) => client.on('error', () => {}))
  prepareStatements(pool)
  const waitUntilReady = connection.waitUntilReady.bind(connection)
  connection.waitUntilReady = async () => {
    try {
      await waitUntilReady()
    } catch (error) {
      await delay(CONNECT_PAUSE_MS)
      Reflect.set(connection, 'readyPromise', undefined)
      throw error
    }
  }
  return backend
}
const CONNECT_PAUSE_MS = 500

/**
 * BullMQ sends the text of each statement every time, and PostgreSQL would read and plan it every time. There are
 * some dozens of texts: each connection prepares those that it meets.
 */
function prepareStatements(pool: pg.Pool): void {
  const names = new Map<string, string>()
  const query = pool.query.bind(pool) as (...args: unknown[]) => unknown
  const prepared = (text: unknown, values?: unknown, ...rest: unknown[]) => {
    if (typeof text !== 'string' || !Array.isArray(values)) return query(text, values, ...rest)
    let name = names.get(text)
    if (name === undefined) {
      name = `bullmq-${names.size}`
      names.set(text, name)
    }
    return query({ name, text, values }, ...rest)
  }
  pool.query = prepared as typeof pool.query
}

/** Connections to PostgreSQL, at most, of each queue and of each worker on one. */
export const QUEUE_POOL_MAX = 4

const postgres = withBackend(createRetryingPostgresBackend)

function postgresBackend(url: string, logger: Logger): QueueBackend {
  const poolOf = (max: number) => ({
    connectionString: url,
    schema: QUEUE_SCHEMA,
    max,
    application_name: 'posthorn-queue',
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    // Jobs are hints: what a crash takes of them, the sweep brings back.
    options: '-c synchronous_commit=off -c jit=off',
  })
  return {
    // All steps of one take 1.9 ms.
    jobEveryMs: 10,
    // Its pool fails a command that gets no connection in time.
    isReachable: () => true,
    async prepare() {
      const client = new pg.Client({ connectionString: url, application_name: 'posthorn-queue' })
      client.on('error', () => {})
      await client.connect()
      try {
        await runMigrations(client, QUEUE_SCHEMA)
      } finally {
        await client.end()
      }
    },
    createQueue<Data>(name: string) {
      const queue = new postgres.Queue<Data>(name, { ...QUEUE_OPTIONS, connection: poolOf(QUEUE_POOL_MAX) })
      return attend(queue, logger, name) as unknown as Queue<Data>
    },
    createWorker<Data>(name: string, process: Processor<Data>, options: { concurrency: number }) {
      const worker = new postgres.Worker<Data>(name, process, {
        ...WORKER_OPTIONS,
        ...options,
        connection: poolOf(QUEUE_POOL_MAX),
      })
      return attend(worker, logger, name) as unknown as Worker<Data>
    },
  }
}

interface Closable {
  on(event: 'error', listener: (error: Error) => void): unknown
  close(): Promise<void>
}

/**
 * Logs what BullMQ reports as events (without a listener they would end the process), and does `after`
 * when it is closed: BullMQ leaves a client that it was given open.
 */
function attend<T extends Closable>(closable: T, logger: Logger, queue: string, after?: () => void): T {
  let lastMessage = ''
  let closing = false
  closable.on('error', (error) => {
    // A connection that is being closed may still say that it was cut.
    if (closing) return
    // A store that is away fails every poll in the same words.
    const level = error.message === lastMessage ? 'debug' : 'warn'
    lastMessage = error.message
    logger[level]({ err: error, queue }, 'queue.error')
  })
  const close = closable.close.bind(closable)
  closable.close = async (...args) => {
    closing = true
    await close(...args)
    after?.()
  }
  return closable
}

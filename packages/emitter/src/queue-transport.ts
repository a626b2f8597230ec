import { setTimeout as sleep } from 'node:timers/promises'
import {
  EMIT_ATTEMPTS,
  EMIT_BACKOFF,
  EMIT_JOB,
  EMIT_QUEUE,
  type EmitJob,
  QUEUE_PREFIX,
  QUEUE_SCHEMA,
} from '@posthorn/contracts'
import type { JobsOptions } from 'bullmq'
import { PosthornError } from './errors.ts'
import { createUuidV7, encodeTypeIdSuffix } from './message-id.ts'
import { retryDelayMs } from './retry.ts'
import type { OutgoingMessage, QueueTarget, SendLimits, SendOutcome, Transport } from './types.ts'

const JOB_OPTIONS: JobsOptions = {
  attempts: EMIT_ATTEMPTS,
  backoff: { type: EMIT_BACKOFF },
  removeOnComplete: true,
  removeOnFail: { count: 10_000 },
}
const POOL_MAX = 4

interface EmitQueue {
  add(job: EmitJob, jobId: string): Promise<void>
  close(): Promise<void>
}

/**
 * Adds messages to the platform's queue; a worker accepts them from there. `bullmq` and `ioredis` or `pg`
 * are loaded at the first emit. The queue itself is the platform's: this neither migrates nor configures it.
 */
export function createQueueTransport(target: QueueTarget, limits: Required<SendLimits>): Transport {
  const open = chooseBackend(target, limits.timeoutMs)
  let opening: Promise<EmitQueue> | undefined

  return {
    async send(messages, deadlineAtMs) {
      const job = toJob(messages)
      // The same id at each retry: if the first add did arrive, BullMQ ignores the second.
      const jobId = `emit_${encodeTypeIdSuffix(createUuidV7(Date.now()))}`
      for (let retry = 0; ; retry += 1) {
        const failure = await addOnce(job, jobId)
        if (failure === undefined) return messages.map(toAccepted)
        const waitMs = retryDelayMs(retry, limits.retryDelayMs, Math.random())
        const mayRetry = retry < limits.retries && performance.now() + waitMs < deadlineAtMs
        if (!failure.retryable || !mayRetry) return messages.map((message) => toRefused(message, failure))
        await sleep(waitMs)
      }
    },
    async close() {
      const queue = await opening?.catch(() => undefined)
      await queue?.close()
    },
  }

  async function addOnce(job: EmitJob, jobId: string): Promise<PosthornError | undefined> {
    opening ??= open()
    const current = opening
    try {
      const queue = await current.catch((error: unknown) => {
        // BullMQ cannot recover a queue that was never ready: the next attempt makes another.
        if (opening === current) opening = undefined
        throw error
      })
      await within(limits.timeoutMs, queue.add(job, jobId))
      return undefined
    } catch (error) {
      return toPosthornError(error)
    }
  }
}

function chooseBackend(target: QueueTarget, timeoutMs: number): () => Promise<EmitQueue> {
  const { redisUrl, databaseUrl } = target ?? {}
  if ((redisUrl === undefined) === (databaseUrl === undefined)) {
    throw new PosthornError('invalid_options', 'queue needs either redisUrl or databaseUrl.')
  }
  if (redisUrl !== undefined) {
    checkUrl('queue.redisUrl', redisUrl, ['redis:', 'rediss:'])
    return () => openOnRedis(redisUrl, timeoutMs)
  }
  checkUrl('queue.databaseUrl', databaseUrl!, ['postgres:', 'postgresql:'])
  return () => openOnPostgres(databaseUrl!, timeoutMs)
}

async function openOnRedis(redisUrl: string, timeoutMs: number): Promise<EmitQueue> {
  const { createRedisBackend, Queue } = await load('bullmq', () => import('bullmq'))
  const { Redis } = await load('ioredis', () => import('ioredis'))
  const redis = new Redis(redisUrl, {
    lazyConnect: true,
    connectTimeout: timeoutMs,
    // Fail at once while Redis is away: our own retries are bounded, that queue is not.
    enableOfflineQueue: false,
  })
  let lastError: Error | undefined
  redis.on('error', (error: Error) => {
    lastError = error
  })
  try {
    await within(timeoutMs, redis.connect())
    const options = { connection: redis, prefix: QUEUE_PREFIX, skipMetasUpdate: true }
    const queue = new Queue(EMIT_QUEUE, options, createRedisBackend)
    queue.on('error', () => {})
    await within(timeoutMs, queue.waitUntilReady())
    return {
      async add(job, jobId) {
        await queue.add(EMIT_JOB, job, { ...JOB_OPTIONS, jobId })
      },
      async close() {
        await queue.close()
        redis.disconnect()
      },
    }
  } catch (error) {
    redis.disconnect()
    // connect() only says "Connection is closed"; the event before it says why.
    throw lastError ?? error
  }
}

async function openOnPostgres(databaseUrl: string, timeoutMs: number): Promise<EmitQueue> {
  const { createPostgresBackend, Queue, SchemaMigrationRequiredError } = await load(
    'bullmq',
    () => import('bullmq'),
  )
  await load('pg', () => import('pg'))
  const connection = {
    connectionString: databaseUrl,
    schema: QUEUE_SCHEMA,
    max: POOL_MAX,
    connectionTimeoutMillis: timeoutMs,
    application_name: 'posthorn-emitter',
  }
  const queue = new Queue(EMIT_QUEUE, { connection, skipMetasUpdate: true }, createPostgresBackend)
  queue.on('error', () => {})
  try {
    await within(timeoutMs, queue.waitUntilReady())
  } catch (error) {
    await queue.close()
    if (!(error instanceof SchemaMigrationRequiredError)) throw error
    throw new PosthornError(
      'queue_not_migrated',
      'This database has no Posthorn queue yet: start Posthorn once.',
      {
        retryable: true,
        cause: error,
      },
    )
  }
  return {
    async add(job, jobId) {
      await queue.add(EMIT_JOB, job, { ...JOB_OPTIONS, jobId })
    },
    close: () => queue.close(),
  }
}

/** Imports an optional peer, or says which package to install. */
async function load<Module>(name: string, importModule: () => Promise<Module>): Promise<Module> {
  try {
    return await importModule()
  } catch (cause) {
    throw new PosthornError(
      'missing_package',
      `The queue transport needs the package "${name}": npm install ${name}`,
      { cause },
    )
  }
}

function toJob(messages: readonly OutgoingMessage[]): EmitJob {
  const now = new Date().toISOString()
  return {
    messages: messages.map(({ id, ownId, owner, type, timestamp = ownId ? undefined : now, data }) => ({
      id,
      owner,
      type,
      data,
      // The job may wait, the event happened now. Under the application's own id it may be emitted again:
      // a second time of our own making would then make it another message, and a conflict.
      ...(timestamp === undefined ? {} : { timestamp }),
    })),
  }
}

function toAccepted({ id, owner, type }: OutgoingMessage): SendOutcome {
  return { kind: 'accepted', message: { id, owner, type } }
}

function toRefused({ id }: OutgoingMessage, failure: PosthornError): SendOutcome {
  const { code, message, retryable, cause } = failure
  return { kind: 'refused', error: new PosthornError(code, message, { retryable, cause, messageId: id }) }
}

function toPosthornError(error: unknown): PosthornError {
  if (error instanceof PosthornError) return error
  const { message, code } = error as { message?: string; code?: string }
  return new PosthornError(
    'queue_unavailable',
    `The queue cannot be reached: ${message || code || String(error)}`,
    {
      retryable: true,
      cause: error,
    },
  )
}

/** Neither driver bounds every wait, so this does. What comes too late is ignored. */
async function within<Value>(timeoutMs: number, promise: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    return await Promise.race([promise, timeout])
  } finally {
    clearTimeout(timer)
  }
}

function checkUrl(option: string, url: string, protocols: readonly string[]): void {
  // Without the URL in the message: it may hold a password.
  if (typeof url !== 'string' || !URL.canParse(url) || !protocols.includes(new URL(url).protocol)) {
    throw new PosthornError('invalid_options', `${option} must be a URL that starts with ${protocols[0]}//.`)
  }
}

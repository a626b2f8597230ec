import { setTimeout as delay } from 'node:timers/promises'
import { coalesce } from '@posthorn/runtime'
import type { Worker } from 'bullmq'
import type { QueueBackend } from './backend.ts'
import { packIds, unpackIds } from './pack-ids.ts'

const QUEUE = 'posthorn-deliver'
/** Jobs of owners who have more than their share: nobody else's wait behind them. */
const SURPLUS_QUEUE = 'posthorn-deliver-surplus'
const JOB = 'deliver'

/** One job a delivery would cost more than its POST; a chunk shares a job, a claim and a commit. */
const CHUNK_SIZE = 200

/** In one call of the store. */
const IDS_MAX = 10_000

/** Surplus gathers for so long between two jobs: it waits anyway, and each job costs everybody's time. */
const SURPLUS_PAUSE_MS = 25

interface DeliverJob {
  /** Delivery ids: see `packIds`. */
  ids: string
}

/** `code`: `queue_unavailable`. */
export class QueueUnavailableError extends Error {
  readonly code = 'queue_unavailable'
}

/** Tells workers of deliveries that are due. A hint: what is lost here, the sweep brings back. */
export interface DeliveryQueue {
  /** @param ids delivery ids (UUID). Rejects where the store of the queue cannot be reached. */
  enqueue(ids: readonly string[]): Promise<void>
  /** As `enqueue`, for what an owner has beyond its share. */
  enqueueSurplus(ids: readonly string[]): Promise<void>
  /** Jobs that no worker took yet. */
  waiting(): Promise<number>
  close(): Promise<void>
}

export function createDeliveryQueue(backend: QueueBackend): DeliveryQueue {
  const queue = backend.createQueue<DeliverJob>(QUEUE)
  const surplus = backend.createQueue<DeliverJob>(SURPLUS_QUEUE)
  function assertReachable(): void {
    if (!backend.isReachable()) throw new QueueUnavailableError('The store of the queue is away.')
  }
  async function add(to: typeof queue, ids: readonly string[]): Promise<void> {
    assertReachable()
    const chunks = Array.from({ length: Math.ceil(ids.length / CHUNK_SIZE) }, (_, at) =>
      ids.slice(at * CHUNK_SIZE, (at + 1) * CHUNK_SIZE),
    )
    // Not as one bulk: on PostgreSQL that makes tables for it, and costs as much as ten of these.
    await Promise.all(chunks.map((chunk) => to.add(JOB, { ids: packIds(chunk) })))
  }
  const surplusJobs = coalesce<readonly string[], void>({
    async run(added) {
      await add(surplus, added.flat())
      await delay(SURPLUS_PAUSE_MS)
      return added.map(() => undefined)
    },
    itemsMax: 1_000,
  })
  // Each call of the store costs as much as two hundred ids in it.
  const jobs = coalesce<readonly string[], void>({
    async run(added) {
      await add(queue, added.length === 1 ? added[0]! : added.flat())
      return added.map(() => undefined)
    },
    itemsMax: 1_000,
    bytesMax: IDS_MAX,
    bytesOf: (ids) => ids.length,
    everyMs: Number(process.env.PH_JOBS ?? 0),
  })
  return {
    enqueue: (ids) => jobs.add(ids),
    enqueueSurplus: (ids) => surplusJobs.add(ids),
    async waiting() {
      assertReachable()
      const counts = await Promise.all([queue.getWaitingCount(), surplus.getWaitingCount()])
      return counts[0] + counts[1]
    },
    async close() {
      await Promise.all([jobs.close(), surplusJobs.close()])
      await Promise.all([queue.close(), surplus.close()])
    },
  }
}

/** Takes chunks of delivery ids from the queue. `process` resolves when the chunk's results are committed. */
export function createDeliveryWorker(
  backend: QueueBackend,
  options: { concurrency: number },
  process: (ids: string[]) => Promise<void>,
): Worker {
  return backend.createWorker<DeliverJob>(QUEUE, (job) => process(unpackIds(job.data.ids)), options)
}

/** As `createDeliveryWorker`, for what owners have beyond their share. */
export function createSurplusWorker(
  backend: QueueBackend,
  options: { concurrency: number },
  process: (ids: string[]) => Promise<void>,
): Worker {
  return backend.createWorker<DeliverJob>(SURPLUS_QUEUE, (job) => process(unpackIds(job.data.ids)), options)
}

import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import { type Pool, takeDue } from '@posthorn/store'
import { divideBacklog } from './fair-share.ts'
import { repeat } from './repeat.ts'

/** A delivery that is due and that no worker claimed for this long is enqueued again. */
export const UNCLAIMED_GRACE_MS = 5_000

const PAUSE_MS = 1_000
/** With more work left than the queue should hold, look again sooner. */
const PAUSE_BEHIND_MS = 100
const BATCH = 1_000
/**
 * Chunk jobs that may wait before the sweep holds back: a few seconds of work. The rest of a backlog
 * stays in the database, where it costs nothing, and fresh events do not queue up behind it.
 */
export const WAITING_JOBS_MAX = 50
/** Behind a full queue retries still go on, a few at a time. */
const BATCH_BEHIND_FULL_QUEUE = 200

export interface SweepContext {
  pool: Pool
  queue: DeliveryQueue
  logger: Logger
}

/** Enqueues what is due: retries, and what lost its job or its worker. */
export interface Sweep {
  /** @returns how many deliveries were enqueued, and whether more were left */
  once(): Promise<{ enqueued: number; more: boolean }>
  stop(): Promise<void>
}

/** Sweeps every second until stopped. Any number of processes may: they share the work. */
export function startSweep(context: SweepContext): Sweep {
  const once = () => sweepOnce(context)
  const stop = repeat({
    name: 'sweep',
    logger: context.logger,
    once: async () => ((await once()).more ? PAUSE_BEHIND_MS : PAUSE_MS),
    failedPauseMs: PAUSE_MS,
  })
  return { once, stop }
}

async function sweepOnce({
  pool,
  queue,
  logger,
}: SweepContext): Promise<{ enqueued: number; more: boolean }> {
  // Asked first: with the queue's store away nothing is taken, so nothing has to be found again.
  const full = (await queue.waiting()) > WAITING_JOBS_MAX
  const limit = full ? BATCH_BEHIND_FULL_QUEUE : BATCH
  const due = await takeDue(pool, limit, UNCLAIMED_GRACE_MS)
  if (due.length > 0) {
    const { within, surplus } = divideBacklog(due)
    if (within.length > 0) await queue.enqueue(within)
    if (surplus.length > 0) await queue.enqueueSurplus(surplus)
    logger.debug({ deliveries: due.length }, 'sweep.enqueued')
  }
  return { enqueued: due.length, more: !full && due.length === limit }
}

import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import { type Pool, takeDue } from '@posthorn/store'
import { divideBacklog } from './fair-share.ts'
import { repeat } from './repeat.ts'

/** A delivery that is due and that no worker claimed for this long is enqueued again. */
export const UNCLAIMED_GRACE_MS = 5_000

const PAUSE_MS = 1_000
/** With more left, look again at once; … */
const PAUSE_BEHIND_MS = 10
/** … or, where the queue holds enough, before a fast worker has done all of it. */
const PAUSE_FULL_MS = 200
const BATCH = 1_000
/**
 * Chunk jobs that may wait before the sweep holds back: about a second of work. The rest of a backlog
 * stays in the database, where it costs nothing, and fresh events do not queue up behind it.
 */
export const WAITING_JOBS_MAX = 25
/** Behind a full queue retries still go on, 200 a second. */
const BATCH_BEHIND_FULL_QUEUE = 40

export interface SweepContext {
  pool: Pool
  queue: DeliveryQueue
  logger: Logger
}

interface Swept {
  /** Deliveries that were enqueued. */
  enqueued: number
  /** Some were left. */
  more: boolean
  /** The queue holds enough for now. */
  full: boolean
}

/** Enqueues what is due: retries, and what lost its job or its worker. */
export interface Sweep {
  once(): Promise<Swept>
  stop(): Promise<void>
}

/** Sweeps every second until stopped. Any number of processes may: they share the work. */
export function startSweep(context: SweepContext): Sweep {
  const once = () => sweepOnce(context)
  const stop = repeat({
    name: 'sweep',
    logger: context.logger,
    once: async () => {
      const { more, full } = await once()
      if (!more) return PAUSE_MS
      return full ? PAUSE_FULL_MS : PAUSE_BEHIND_MS
    },
    failedPauseMs: PAUSE_MS,
  })
  return { once, stop }
}

async function sweepOnce({ pool, queue, logger }: SweepContext): Promise<Swept> {
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
  return { enqueued: due.length, more: due.length === limit, full }
}

import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import { type Pool, takeDue } from '@posthorn/store'
import type { Deliver } from './deliver.ts'
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

/** Claims of a backlog before the sweep looks again whether the queue holds enough. */
const CLAIMS_BEHIND = 50

export interface SweepContext {
  pool: Pool
  queue: DeliveryQueue
  /** Where a backlog goes. */
  deliver: Pick<Deliver, 'deliverDue'>
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

/** Enqueues what is due: retries, and what lost its job or its worker. Of more than a batch it claims the rest. */
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

async function sweepOnce({ pool, queue, deliver, logger }: SweepContext): Promise<Swept> {
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
  const more = due.length === limit
  if (more && !full) await drain(deliver)
  return { enqueued: due.length, more, full }
}

/**
 * A backlog is claimed where it is: a job for each part of it would cost two writes of each delivery, and tell
 * only ourselves. Other workers' sweeps do the same beside it.
 */
async function drain(deliver: Pick<Deliver, 'deliverDue'>): Promise<void> {
  for (let claims = 0; claims < CLAIMS_BEHIND; claims++) {
    // A worker that is busy with what is new has no room: then the rest is left to the queue, as ever.
    if ((await deliver.deliverDue(PAUSE_MS)) === 0) return
  }
}

import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import { type Pool, releasePaced } from '@posthorn/store'
import { repeat } from './repeat.ts'
import { UNCLAIMED_GRACE_MS } from './sweep.ts'

/** Half of what is released ahead: see `releasePaced`. */
const PAUSE_MS = 250
const ENDPOINTS_AT_ONCE = 100
const PER_ENDPOINT_AT_ONCE = 1_000

export interface ReleasePacedContext {
  pool: Pool
  queue: Pick<DeliveryQueue, 'enqueue'>
  logger: Logger
}

/** Enqueues what is parked for rate-limited endpoints, as their slots come. */
export interface ReleasePaced {
  stop(): Promise<void>
}

/** Looks four times a second until stopped. Any number of processes may: one of them releases an endpoint's. */
export function startReleasePaced({ pool, queue, logger }: ReleasePacedContext): ReleasePaced {
  const stop = repeat({
    name: 'release_paced',
    logger,
    async once() {
      const ids = await releasePaced(pool, {
        endpoints: ENDPOINTS_AT_ONCE,
        perEndpoint: PER_ENDPOINT_AT_ONCE,
        wakeAfterMs: UNCLAIMED_GRACE_MS,
      })
      // A job is a hint. Where it cannot be added, the sweep finds the deliveries in the database.
      if (ids.length > 0) await queue.enqueue(ids)
      return PAUSE_MS
    },
    failedPauseMs: PAUSE_MS,
  })
  return { stop }
}

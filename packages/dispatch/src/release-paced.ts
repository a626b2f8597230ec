import { setTimeout as delay } from 'node:timers/promises'
import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import { type Pool, releasePaced } from '@posthorn/store'
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
export function startReleasePaced(context: ReleasePacedContext): ReleasePaced {
  const stopping = new AbortController()
  const running = releaseUntil(stopping.signal, context)
  return {
    async stop() {
      stopping.abort()
      await running
    },
  }
}

async function releaseUntil(
  signal: AbortSignal,
  { pool, queue, logger }: ReleasePacedContext,
): Promise<void> {
  let failing = false
  while (!signal.aborted) {
    try {
      const ids = await releasePaced(pool, {
        endpoints: ENDPOINTS_AT_ONCE,
        perEndpoint: PER_ENDPOINT_AT_ONCE,
        wakeAfterMs: UNCLAIMED_GRACE_MS,
      })
      // A job is a hint. Where it cannot be added, the sweep finds the deliveries in the database.
      if (ids.length > 0) await queue.enqueue(ids)
      failing = false
    } catch (error) {
      // The database or the queue is away. Said once.
      if (!failing) logger.warn({ err: error }, 'release_paced.failed')
      failing = true
    }
    await delay(PAUSE_MS, undefined, { signal }).catch(() => {})
  }
}

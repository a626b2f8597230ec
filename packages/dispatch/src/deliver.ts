import { encodeId, newUuid, type RetryPolicy } from '@posthorn/contracts'
import type { Post, PostOutcome } from '@posthorn/egress'
import { coalesce, type Logger } from '@posthorn/runtime'
import { signedHeaders } from '@posthorn/signing'
import {
  type ClaimedDelivery,
  claimDeliveries,
  disableEndpoint,
  type EndState,
  endDeliveries,
  type Held,
  type Pool,
  releaseDeliveries,
} from '@posthorn/store'
import { createAttemptLog } from './attempt-log.ts'
import { attemptResult } from './attempt-result.ts'
import { createLanes, PARKED } from './lanes.ts'
import { outlast } from './outlast.ts'

import { createTargets, type Target } from './targets.ts'

export interface DeliverContext {
  pool: Pool
  post: Post['post']
  logger: Logger
  settings: DeliverSettings
}

export interface DeliverSettings {
  /** How long a worker may hold a delivery before another may take it. */
  leaseMs: number
  attemptTimeoutMs: number
  retryPolicy: RetryPolicy
  /** Attempts in flight at once, in all and to one endpoint. */
  workerConcurrency: number
  endpointConcurrency: number
}

export interface Deliver {
  /**
   * Attempts those of these deliveries that are due and not held, once.
   *
   * Resolves when what came of them is committed. A slow attempt is not waited for: the lease, not the
   * job, keeps it safe.
   *
   * @param ids delivery ids (UUID)
   */
  deliver(ids: readonly string[]): Promise<void>
  /** Attempts in flight. */
  readonly inFlight: number
  /** Hands back what waits, gives what is in flight `drainMs` to end, and then hands that back too. */
  close(drainMs: number): Promise<void>
}

/** Nothing was tried, or it was called off. */
const HANDED_BACK = Symbol('handed back')

/** The longest that a claimed delivery should wait for its turn at its endpoint. */
const PARK_AFTER_MS = 2_000
/** A parked delivery is due again after this long. */
const PARK_DELAY_MS = 5_000
/** Claimed deliveries that wait for their turn: with their payloads, they are what memory goes to. */
const WAITING_MAX = 1_000
/** A job is done after this long, whatever is still in flight. */
const JOB_MAX_MS = 2_000

export function createDeliver(context: DeliverContext): Deliver {
  const { pool, logger, settings } = context
  const lanes = createLanes({
    total: settings.workerConcurrency,
    parkAfterMs: PARK_AFTER_MS,
    waitingMax: WAITING_MAX,
  })
  const targets = createTargets(pool)
  const attemptLog = createAttemptLog({ pool, logger })
  const abort = new AbortController()
  const active = new Set<Promise<void>>()
  let closing = false

  const release = coalesce<Held, void>({
    run: async (held) => {
      const delayMs = closing ? 0 : PARK_DELAY_MS * (0.8 + 0.4 * Math.random())
      await outlast(() => releaseDeliveries(pool, held, delayMs), Date.now() + settings.leaseMs / 4)
      return held.map(() => undefined)
    },
    itemsMax: 1_000,
    concurrency: 1,
  })

  async function deliver(ids: readonly string[]): Promise<void> {
    // What is not claimed waits in the queue, where it takes no memory of ours.
    await lanes.room()
    if (closing) return
    const work = beginAttempts(ids)
      .finally(lanes.brought)
      .then((attempts) => Promise.all(attempts))
      .then(() => {})
    track(work)
    await withinJob(work)
  }

  /** Claims, and puts what was claimed into the lanes. */
  async function beginAttempts(ids: readonly string[]): Promise<Promise<void>[]> {
    const claim = newUuid()
    let leaseUntilMs = 0
    // A claim whose answer was lost is asked for again: otherwise its deliveries would wait for the lease.
    const claimed = await outlast(() => {
      leaseUntilMs = Date.now() + settings.leaseMs
      return claimDeliveries(pool, ids, claim, settings.leaseMs)
    }, Date.now() + settings.leaseMs)
    if (claimed.length === 0) return []
    const targetOf = await outlast(() => targets.load(claimed), leaseUntilMs)

    const over: Record<Exclude<EndState, 'delivered' | 'dead'>, Held[]> = { cancelled: [], skipped: [] }
    const attempts: Promise<void>[] = []
    for (const delivery of claimed) {
      const target = targetOf.get(delivery.endpointId)
      if (target === undefined || target.deleted || delivery.payload === null) {
        over.cancelled.push({ id: delivery.id, claim })
      } else if (target.disabled) {
        over.skipped.push({ id: delivery.id, claim })
      } else {
        attempts.push(deliverOne(delivery, target, delivery.payload, claim, leaseUntilMs))
      }
    }
    for (const state of ['cancelled', 'skipped'] as const) {
      if (over[state].length === 0) continue
      attempts.push(outlast(() => endDeliveries(pool, over[state], state), leaseUntilMs))
    }
    return attempts
  }

  function track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => logger.error({ err: error }, 'delivery.not_recorded'))
      .then(() => void active.delete(tracked))
    active.add(tracked)
  }

  async function deliverOne(
    delivery: ClaimedDelivery,
    target: Target,
    payload: Buffer,
    claim: string,
    leaseUntilMs: number,
  ): Promise<void> {
    const limit = target.inFlightMax ?? settings.endpointConcurrency
    const attempted = await lanes.run(delivery.endpointId, limit, () =>
      attempt(delivery, target, payload, leaseUntilMs),
    )
    // Nothing was learnt about the endpoint, and no attempt is used up.
    if (attempted === PARKED || attempted === HANDED_BACK) {
      await release.add({ id: delivery.id, claim })
      return
    }
    const { result, disable } = attemptResult({
      delivery,
      claim,
      ...attempted,
      policy: target.retryPolicy ?? settings.retryPolicy,
      random: Math.random(),
    })
    // Before the result: once the delivery has ended, nothing would disable the endpoint any more.
    if (disable !== undefined) await disableEndpoint(pool, delivery.endpointId, disable)
    const written = await attemptLog.add(result, leaseUntilMs)
    logAttempt(delivery, target, result, written)
  }

  async function attempt(
    delivery: ClaimedDelivery,
    target: Target,
    payload: Buffer,
    leaseUntilMs: number,
  ): Promise<{ startedAt: Date; outcome: PostOutcome } | typeof HANDED_BACK> {
    const startedAt = new Date()
    const timeoutMs = target.attemptTimeoutMs ?? settings.attemptTimeoutMs
    // It waited for its turn too long: the answer could come after the lease.
    if (startedAt.getTime() + timeoutMs > leaseUntilMs) return HANDED_BACK
    const outcome = await context.post({
      url: target.url,
      headers: {
        ...target.headers,
        'content-type': 'application/json',
        ...signedHeaders({
          id: encodeId('msg', delivery.messageId),
          timestampS: Math.floor(startedAt.getTime() / 1_000),
          body: payload,
          keys: target.keys,
        }),
      },
      body: payload,
      timeoutMs,
      signal: abort.signal,
    })
    return outcome.kind === 'failed' && outcome.code === 'aborted' ? HANDED_BACK : { startedAt, outcome }
  }

  function logAttempt(
    delivery: ClaimedDelivery,
    target: Target,
    result: ReturnType<typeof attemptResult>['result'],
    written: boolean,
  ): void {
    const level = !written ? 'warn' : result.next.state === 'delivered' ? 'debug' : 'info'
    if (!logger.isLevelEnabled(level)) return
    logger[level](
      {
        delivery: encodeId('dlv', delivery.id),
        message: encodeId('msg', delivery.messageId),
        endpoint: encodeId('ep', delivery.endpointId),
        owner: encodeId('own', target.ownerId),
        attempt: result.number,
        outcome: result.outcome,
        status: result.status,
        detail: result.detail,
        durationMs: Math.round(result.durationMs),
        next: result.next.state,
        ...(result.next.state === 'pending' && { retryInMs: result.next.delayMs }),
        // Another worker took it meanwhile: this POST was a duplicate and its result is not kept.
        ...(!written && { fenced: true }),
      },
      'delivery.attempted',
    )
  }

  async function close(drainMs: number): Promise<void> {
    closing = true
    lanes.close()
    const timer = setTimeout(() => abort.abort(), drainMs)
    while (active.size > 0) await Promise.all(active)
    clearTimeout(timer)
    await Promise.all([attemptLog.close(), release.close()])
  }

  return {
    deliver,
    close,
    get inFlight() {
      return lanes.inFlight
    },
  }
}

async function withinJob(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, JOB_MAX_MS)
  })
  try {
    await Promise.race([work, enough])
  } finally {
    clearTimeout(timer)
  }
}

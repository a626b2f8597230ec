import { encodeId, newUuid, type RetryPolicy, uuidTimeMs } from '@posthorn/contracts'
import type { Post, PostOutcome } from '@posthorn/egress'
import type { DeliveryQueue } from '@posthorn/queue'
import { coalesce, type Logger } from '@posthorn/runtime'
import { signedHeaders } from '@posthorn/signing'
import {
  type ClaimedDelivery,
  claimDeliveries,
  claimDue,
  disableEndpoint,
  type EndState,
  endDeliveries,
  type Held,
  type Pool,
  parkDeliveries,
  releaseDeliveries,
  resetEndpointHealth,
  type UnreadableSecretsError,
  type Vault,
} from '@posthorn/store'
import { LRUCache } from 'lru-cache'
import { createAttemptLog } from './attempt-log.ts'
import { attemptResult, policyOutcome } from './attempt-result.ts'
import { HEALTH_POLICY, type HealthEvent, type HealthPolicy, healthEvent } from './endpoint-health.ts'
import { createHealthLog } from './health-log.ts'
import { createLanes, PARKED } from './lanes.ts'
import { outlast } from './outlast.ts'
import { createPace } from './pace.ts'
import { skipDisabled } from './skip-disabled.ts'
import { UNCLAIMED_GRACE_MS } from './sweep.ts'
import { createTargets, type Target } from './targets.ts'

export interface DeliverContext {
  pool: Pool
  /** Decrypts what endpoints are sent with. */
  vault: Vault
  post: Post['post']
  logger: Logger
  /** For deliveries that a recovering endpoint lets go. */
  queue: Pick<DeliveryQueue, 'enqueue'>
  settings: DeliverSettings
  /** Where it is to be another than `healthPolicy(settings)`. */
  policy?: HealthPolicy
}

export interface DeliverSettings {
  /** How long a worker may hold a delivery before another may take it. */
  leaseMs: number
  attemptTimeoutMs: number
  retryPolicy: RetryPolicy
  /** Attempts in flight at once, in all and to one endpoint. */
  workerConcurrency: number
  endpointConcurrency: number
  /** How long an endpoint that only fails is left alone at first. */
  breakerPauseMs: number
  /** An endpoint that did nothing but fail for so long is disabled; null: none is. */
  disableAfterMs: number | null
}

/** The circuit breaker as it is set. */
export function healthPolicy({
  leaseMs,
  breakerPauseMs,
  disableAfterMs,
  endpointConcurrency,
}: Pick<
  DeliverSettings,
  'leaseMs' | 'breakerPauseMs' | 'disableAfterMs' | 'endpointConcurrency'
>): HealthPolicy {
  return {
    ...HEALTH_POLICY,
    // With more, what is emitted while a backlog drains would wait behind it for its turn at the endpoint.
    releaseMax: endpointConcurrency,
    openMs: breakerPauseMs,
    openMaxMs: 30 * breakerPauseMs,
    throttledMs: breakerPauseMs / 10,
    // A probe whose worker died is found again once its lease is over; with that it is time for another.
    newsMs: leaseMs + 2 * UNCLAIMED_GRACE_MS,
    disableAfterMs,
  }
}

export interface Deliver {
  /**
   * Attempts those of these deliveries that are due and not held, once.
   *
   * Resolves when they are claimed. What comes of them is not waited for: the lease, not the job, keeps them
   * safe, and jobs that wait for endpoints that hang would keep everybody else's in the queue.
   *
   * @param ids delivery ids (UUID)
   */
  deliver(ids: readonly string[]): Promise<void>
  /** As `deliver`, for what an owner has beyond its share: begun only while few deliveries wait for a place. */
  deliverSurplus(ids: readonly string[]): Promise<void>
  /**
   * Takes some of what is due from the database, without a job, as soon as `deliverSurplus` would begin any.
   *
   * @param withinMs how long it waits for that
   * @returns how many, when they are claimed
   */
  deliverDue(withinMs: number): Promise<number>
  /** Attempts in flight. */
  readonly inFlight: number
  /** Hands back what waits, gives what is in flight `drainMs` to end, and then hands that back too. */
  close(drainMs: number): Promise<void>
}

interface Claimed {
  claimed: ClaimedDelivery[]
  /** By this process's clock. */
  leaseUntilMs: number
}

interface Attempted {
  startedAt: Date
  outcome: PostOutcome
}

/** Nothing was tried, or it was called off. */
const HANDED_BACK = Symbol('handed back')
/** Its endpoint was opened while it waited for its turn. */
const HELD_BACK = Symbol('held back')

/** The longest that a claimed delivery should wait for its turn at its endpoint. */
const PARK_AFTER_MS = 2_000
/**
 * A parked delivery is due again when its turn may have come by the pace of its endpoint, within these
 * bounds: each time costs three writes, and 10,000 that came every 5 s took half of everybody's time.
 */
const PARK_DELAY_MS = 2_000
const PARK_DELAY_MAX_MS = 20_000
/**
 * What is for an endpoint whose secrets cannot be decrypted is looked at again after so long. It waits as long
 * as it takes: only an operator can give the worker its master key, and no attempt was made.
 */
const UNREADABLE_DELAY_MS = 60_000
/** What was accepted no longer ago is not what waited for its endpoint to recover. */
const FRESH_MS = 2_000
/** Claimed deliveries that wait for their turn: with their payloads, they are what memory goes to. */
const WAITING_MAX = 1_000
/** Deliveries that are claimed at once. */
const CLAIM_MAX = 250
const SURPLUS_CLAIM_MAX = 100

export function createDeliver(context: DeliverContext): Deliver {
  const { pool, logger, settings } = context
  const lanes = createLanes({
    total: settings.workerConcurrency,
    parkAfterMs: PARK_AFTER_MS,
    waitingMax: WAITING_MAX,
  })
  const targets = createTargets(context)
  const attemptLog = createAttemptLog({ pool, logger })
  const policy = context.policy ?? healthPolicy(settings)
  const pace = createPace({ pool, leaseMs: settings.leaseMs })
  const healthLog = createHealthLog({ pool, queue: context.queue, logger, policy })
  /** Endpoints that were told of in the last minute. */
  const toldUnreadable = new LRUCache<string, true>({ max: 1_000, ttl: UNREADABLE_DELAY_MS })
  const abort = new AbortController()
  const active = new Set<Promise<void>>()
  let closing = false

  const release = coalesce<Held & { delayMs: number }, void>({
    run: async (waited) => {
      const held = closing ? waited.map((one) => ({ ...one, delayMs: 0 })) : waited
      await outlast(() => releaseDeliveries(pool, held), Date.now() + settings.leaseMs / 4)
      return held.map(() => undefined)
    },
    itemsMax: 1_000,
  })

  const park = coalesce<Held & { endpointId: string }, void>({
    run: async (held) => {
      await outlast(() => parkDeliveries(pool, held), Date.now() + settings.leaseMs / 4)
      return held.map(() => undefined)
    },
    itemsMax: 1_000,
  })

  const claims = createClaims(false, CLAIM_MAX)
  const surplusClaims = createClaims(true, SURPLUS_CLAIM_MAX)

  /** Jobs that come while a claim is in flight, or while there is no room for one, are claimed together. */
  function createClaims(isSurplus: boolean, idsMax: number) {
    return coalesce<readonly string[], void>({
      run: async (jobs) => {
        await begin(jobs.flat(), isSurplus)
        return jobs.map(() => undefined)
      },
      itemsMax: idsMax,
      bytesMax: idsMax,
      bytesOf: (ids) => ids.length,
    })
  }

  async function deliver(ids: readonly string[]): Promise<void> {
    if (!closing) await claims.add(ids)
  }

  async function deliverSurplus(ids: readonly string[]): Promise<void> {
    if (!closing) await surplusClaims.add(ids)
  }

  async function begin(ids: readonly string[], isSurplus: boolean): Promise<void> {
    // What is not claimed waits in the queue, where it takes no memory of ours.
    await lanes.room(ids.length, isSurplus)
    await bring(ids.length, (claim) =>
      // A claim whose answer was lost is asked for again: otherwise its deliveries would wait for the lease.
      outlast(async () => {
        const leaseUntilMs = Date.now() + settings.leaseMs
        return { leaseUntilMs, claimed: await claimDeliveries(pool, ids, claim, settings.leaseMs) }
      }, Date.now() + settings.leaseMs),
    )
  }

  async function deliverDue(withinMs: number): Promise<number> {
    if (!(await lanes.room(CLAIM_MAX, true, withinMs))) return 0
    return await bring(CLAIM_MAX, async (claim) => {
      const leaseUntilMs = Date.now() + settings.leaseMs
      return { leaseUntilMs, claimed: await claimDue(pool, CLAIM_MAX, claim, settings.leaseMs) }
    })
  }

  /**
   * Claims into the room that there is for as many, and begins what was claimed.
   *
   * @returns how many were claimed
   */
  async function bring(countMax: number, take: (claim: string) => Promise<Claimed>): Promise<number> {
    if (closing) return 0
    const claim = newUuid()
    const claimedAfter = healthLog.beforeClaim()
    const begun = take(claim)
      .then(async (taken) => ({
        attempts: await beginAttempts(claim, taken, claimedAfter),
        count: taken.claimed.length,
      }))
      .finally(() => lanes.brought(countMax))
    track(begun.then(({ attempts }) => Promise.all(attempts)).then(() => {}))
    return (await begun).count
  }

  /** Puts what was claimed into the lanes. */
  async function beginAttempts(
    claim: string,
    { claimed, leaseUntilMs }: Claimed,
    claimedAfter: number,
  ): Promise<Promise<void>[]> {
    if (claimed.length === 0) return []
    healthLog.learn(claimed, claimedAfter)
    const targetOf = await outlast(() => targets.load(claimed), leaseUntilMs)

    const over: Record<Exclude<EndState, 'delivered' | 'dead'>, Held[]> = { cancelled: [], skipped: [] }
    const attempts: Promise<void>[] = []
    const gone = new Set<string>()
    for (const delivery of claimed) {
      const target = targetOf.get(delivery.endpointId)
      const isGone = target === undefined || target.deleted || target.disabled
      if (isGone && delivery.health !== null) gone.add(delivery.endpointId)
      if (target === undefined || target.deleted || delivery.payload === null) {
        over.cancelled.push({ id: delivery.id, claim })
      } else if (target.disabled) {
        over.skipped.push({ id: delivery.id, claim })
      } else if (target.unreadable !== null) {
        tellUnreadable(target, target.unreadable)
        const delayMs = UNREADABLE_DELAY_MS * (0.8 + 0.4 * Math.random())
        attempts.push(release.add({ id: delivery.id, claim, delayMs }))
      } else {
        const made = deliverOne(delivery, target, delivery.payload, claim, leaseUntilMs)
        attempts.push(made)
      }
    }
    for (const state of ['cancelled', 'skipped'] as const) {
      if (over[state].length === 0) continue
      attempts.push(outlast(() => endDeliveries(pool, over[state], state), leaseUntilMs))
    }
    // Nobody would hear of its recovery: what waits for it ends like these, at once.
    for (const endpointId of gone) {
      healthLog.forget(endpointId)
      attempts.push(outlast(() => resetEndpointHealth(pool, endpointId), leaseUntilMs))
    }
    return attempts
  }

  /** Once a minute of each endpoint, not once a delivery. */
  function tellUnreadable({ endpointId, ownerId }: Target, { code, message }: UnreadableSecretsError): void {
    if (toldUnreadable.has(endpointId)) return
    toldUnreadable.set(endpointId, true)
    logger.error(
      { endpoint: encodeId('ep', endpointId), owner: encodeId('own', ownerId), code, reason: message },
      'endpoint.secrets_unreadable',
    )
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
    if (target.rateLimit !== null) {
      if (healthLog.isOpen(delivery.endpointId)) {
        await park.add({ id: delivery.id, claim, endpointId: delivery.endpointId })
        return
      }
      const { id, endpointId } = delivery
      const isItsTurn = await pace.turn({ id, claim, endpointId, rateLimit: target.rateLimit })
      if (!isItsTurn) return
    }
    const limit = target.inFlightMax ?? settings.endpointConcurrency
    const place = {
      lane: delivery.endpointId,
      owner: target.ownerId,
      limit,
      isLate: isLate(delivery),
    }
    const attempted = await lanes.run(place, async () => {
      const made = await attempt(delivery, target, payload, leaseUntilMs)
      if (typeof made === 'symbol') return made
      const event = healthEventOf(delivery, made)
      const noted = noteHealth(delivery, event, leaseUntilMs)
      // Still in its lane: an endpoint that fails gets no further attempt before that is known of it.
      if (event.kind !== 'success') await noted
      return { ...made, noted }
    })
    // No attempt is used up.
    if (attempted === PARKED || attempted === HANDED_BACK) {
      const turnInMs = attempted === PARKED ? lanes.turnInMs(delivery.endpointId, PARK_DELAY_MAX_MS) : 0
      const delayMs = Math.max(PARK_DELAY_MS, turnInMs) * (0.8 + 0.4 * Math.random())
      await release.add({ id: delivery.id, claim, delayMs })
      return
    }
    if (attempted === HELD_BACK) {
      await park.add({ id: delivery.id, claim, endpointId: delivery.endpointId })
      return
    }
    const { result, disable } = attemptResult({
      delivery,
      claim,
      ...attempted,
      policy: target.retryPolicy ?? settings.retryPolicy,
      random: Math.random(),
    })
    const reason = disable ?? (await attempted.noted)
    // Before the result: once the delivery has ended, nothing would disable the endpoint any more.
    if (reason !== undefined && (await disableEndpoint(pool, delivery.endpointId, reason))) {
      logger.warn({ endpoint: encodeId('ep', delivery.endpointId), reason }, 'endpoint.disabled')
    }
    const written = await attemptLog.add(result, leaseUntilMs)
    logAttempt(delivery, target, result, written)
    // After the result, so that this delivery is among them.
    if (reason !== undefined) await skipDisabled(pool, delivery.endpointId)
  }

  function healthEventOf({ id }: ClaimedDelivery, { startedAt, outcome }: Attempted): HealthEvent {
    const attempted = { deliveryId: id, startedAtMs: startedAt.getTime() }
    return healthEvent(policyOutcome(outcome, startedAt), attempted, policy)
  }

  /** @returns why the endpoint is to be disabled, if it is */
  async function noteHealth(
    delivery: ClaimedDelivery,
    event: HealthEvent,
    leaseUntilMs: number,
  ): Promise<string | undefined> {
    try {
      return await outlast(() => healthLog.add(delivery.endpointId, event), leaseUntilMs)
    } catch (error) {
      // The attempt counts more than what it says about the endpoint; the next one will say it again.
      logger.error(
        { err: error, endpoint: encodeId('ep', delivery.endpointId) },
        'endpoint.health_not_recorded',
      )
      return undefined
    }
  }

  async function attempt(
    delivery: ClaimedDelivery,
    target: Target,
    payload: Buffer,
    leaseUntilMs: number,
  ): Promise<Attempted | typeof HANDED_BACK | typeof HELD_BACK> {
    if (healthLog.isOpen(delivery.endpointId)) return HELD_BACK
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
      ...(target.tls !== null && { tls: target.tls }),
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
    pace.hurry()
    lanes.close()
    const timer = setTimeout(() => abort.abort(), drainMs)
    while (active.size > 0) await Promise.all(active)
    clearTimeout(timer)
    await Promise.all([
      attemptLog.close(),
      healthLog.close(),
      claims.close(),
      surplusClaims.close(),
      pace.close(),
      release.close(),
      park.close(),
    ])
  }

  return {
    deliver,
    deliverSurplus,
    deliverDue,
    close,
    get inFlight() {
      return lanes.inFlight
    },
  }
}

/** See `lanes.ts`. */
function isLate({ id, attempts, attemptsBeforeReplay, health }: ClaimedDelivery): boolean {
  if (attempts > attemptsBeforeReplay) return true
  return health !== null && Date.now() - (uuidTimeMs(id) ?? 0) > FRESH_MS
}

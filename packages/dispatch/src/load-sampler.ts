import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeId } from '@posthorn/contracts'
import type { Logger } from '@posthorn/runtime'
import { type BacklogSample, type Pool, sampleBacklog } from '@posthorn/store'
import type { Accept } from './accept.ts'
import { type Admission, type AdmissionLimits, decideAdmission, type Load } from './admission.ts'

export interface LoadSamplerContext {
  pool: Pool
  accept: Pick<Accept, 'waitingEmits' | 'waitingBytes'>
  limits: AdmissionLimits
  logger: Logger
}

/** Measures what this process and the platform have before them, and says who may emit. */
export interface LoadSampler {
  /**
   * Whether an emit of this owner is taken now; to be asked right before `accept`.
   *
   * @param owner `own_…`, or the application's own uid; left out, whether anybody's is
   */
  admit(owner?: string): Admission
  stop(): Promise<void>
}

const ADMITTED: Admission = { kind: 'admitted' }
const NOTHING_DUE: BacklogSample = { due: 0, oldestDueMs: 0, owners: [] }

const PROCESS_INTERVAL_MS = 250
/** Weight of the newest sample: one long pause (a garbage collection, a large batch) refuses nobody. */
const NEWEST_WEIGHT = 0.25
const EVENT_LOOP_RESOLUTION_MS = 20

const BACKLOG_INTERVAL_MS = 1_000
/** The longer a look takes, the longer the pause after it, up to a bound: an old figure is a wrong one. */
const BACKLOG_PAUSE_FACTOR = 20
const BACKLOG_PAUSE_MAX_MS = 5_000
const BACKLOG_BYTES_MAX = 16 * 1024 * 1024
const OWNERS_MAX = 100

export function startLoadSampler({ pool, accept, limits, logger }: LoadSamplerContext): LoadSampler {
  const stopping = new AbortController()
  const eventLoop = monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION_MS })
  eventLoop.enable()
  let eventLoopDelayMs = 0
  let backlog = NOTHING_DUE
  /** By UUID and by uid, which no uid looks like with its prefix. */
  let dueOf = new Map<string, number>()
  /** With false, only what waits in this process is looked at. */
  let isPressed = false
  let said: Admission['kind'] = 'admitted'

  const timer = setInterval(() => {
    const meanMs = eventLoop.count === 0 ? 0 : Math.max(0, eventLoop.mean / 1e6 - EVENT_LOOP_RESOLUTION_MS)
    eventLoop.reset()
    eventLoopDelayMs += NEWEST_WEIGHT * (meanMs - eventLoopDelayMs)
    judge()
  }, PROCESS_INTERVAL_MS).unref()
  const sampling = sampleUntil(stopping.signal)

  function admit(owner?: string): Admission {
    const isFull =
      accept.waitingEmits >= limits.waitingEmitsMax || accept.waitingBytes >= limits.waitingBytesMax
    if (!isPressed && !isFull) return ADMITTED
    return decideAdmission(measure(), limits, owner === undefined ? 0 : (dueOf.get(keyOf(owner)) ?? 0))
  }

  function measure(): Load {
    return {
      waitingEmits: accept.waitingEmits,
      waitingBytes: accept.waitingBytes,
      waitingForConnection: pool.waitingCount,
      eventLoopDelayMs: Math.round(eventLoopDelayMs),
      due: backlog.due,
      oldestDueMs: Math.round(backlog.oldestDueMs),
    }
  }

  /** Whether anybody might be refused now: by what somebody would be answered who has all of the backlog. */
  function judge(): void {
    const load = measure()
    const worst = decideAdmission(load, limits, Math.max(0, ...backlog.owners.map(({ due }) => due)))
    isPressed = worst.kind !== 'admitted'
    if (worst.kind === said) return
    said = worst.kind
    if (worst.kind === 'admitted') logger.info(load, 'admission.recovered')
    else logger.warn({ ...worst, ...load }, 'admission.refusing')
  }

  async function sampleUntil(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const startedAtMs = performance.now()
      try {
        backlog = await sampleBacklog(pool, { bytesMax: BACKLOG_BYTES_MAX, ownersMax: OWNERS_MAX })
      } catch (error) {
        // What was measured before may be long over. Without the database nothing is accepted anyway.
        backlog = NOTHING_DUE
        logger.debug({ err: error }, 'admission.not_measured')
      }
      dueOf = new Map(
        backlog.owners.flatMap(({ id, uid, due }) => [
          [`id ${id}`, due],
          [`uid ${uid}`, due],
        ]),
      )
      judge()
      const pauseMs = Math.min(BACKLOG_PAUSE_FACTOR * (performance.now() - startedAtMs), BACKLOG_PAUSE_MAX_MS)
      await delay(Math.max(BACKLOG_INTERVAL_MS, pauseMs), undefined, { signal }).catch(() => {})
    }
  }

  return {
    admit,
    async stop() {
      stopping.abort()
      clearInterval(timer)
      eventLoop.disable()
      await sampling
    },
  }
}

function keyOf(owner: string): string {
  const id = decodeId('own', owner)
  return id === undefined ? `uid ${owner}` : `id ${id}`
}

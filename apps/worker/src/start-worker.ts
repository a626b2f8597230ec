import {
  acceptJob,
  createAccept,
  createDeliver,
  type Deliver,
  type HealthPolicy,
  healthPolicy,
  startOperationalEvents,
  startProbe,
  startReleasePaced,
  startReplays,
  startSweep,
} from '@posthorn/dispatch'
import { createEgressPolicy, createPost, egressProxy, type Lookup } from '@posthorn/egress'
import {
  createDeliveryQueue,
  createDeliveryWorker,
  createEmitWorker,
  createSurplusWorker,
  type QueueBackend,
} from '@posthorn/queue'
import { type Logger, type Settings, version } from '@posthorn/runtime'
import type { Store, Vault } from '@posthorn/store'
import { startMaintenance } from './maintenance.ts'

export interface WorkerContext {
  store: Store
  vault: Vault
  backend: QueueBackend
  settings: Settings
  logger: Logger
  /** What is to be otherwise in the circuit breaker of endpoints: for tests, which cannot wait for minutes. */
  policy?: Partial<HealthPolicy>
  /** In place of the system's lookup of names: for tests, which have names of their own. */
  lookup?: Lookup
}

export interface RunningWorker {
  /** Attempts in flight. */
  readonly inFlight: number
  /** Takes nothing new, finishes what is in flight within a bound, and hands the rest back. */
  close(): Promise<void>
}

/** Chunk jobs taken at once, each of up to 200 deliveries, until these are claimed. */
const JOBS_AT_ONCE = 32
const EMIT_JOBS_AT_ONCE = 8
/** Longer than most answers, shorter than the patience of whoever stops the process. */
const DRAIN_MS = 10_000

/**
 * Delivers, sweeps, probes endpoints, runs replays, accepts what applications put into the queue and what
 * Posthorn has to say of itself, and makes tomorrow's partitions.
 */
export function startWorker({
  store,
  vault,
  backend,
  settings,
  logger,
  policy: otherwise,
  lookup,
}: WorkerContext): RunningWorker {
  const { pool } = store
  const queue = createDeliveryQueue(backend)
  const proxy = egressProxy(settings)
  const { post, close: closeEgress } = createPost({
    ...createEgressPolicy(settings, logger),
    ...(proxy !== undefined && { proxy }),
    ...(lookup !== undefined && { lookup }),
    connectTimeoutMs: settings.connectTimeoutMs,
    attemptTimeoutMs: settings.attemptTimeoutMs,
    userAgent: `Posthorn/${version}`,
  })
  const policy = { ...healthPolicy(settings), ...otherwise }
  const deliver = createDeliver({ pool, vault, post, logger, queue, settings, policy })
  const accept = createAccept({ pool, queue, logger })
  const deliveryWorker = createDeliveryWorker(backend, { concurrency: JOBS_AT_ONCE }, deliver.deliver)
  const surplusWorker = createSurplusWorker(backend, { concurrency: JOBS_AT_ONCE }, deliver.deliverSurplus)
  const emitWorker = createEmitWorker(backend, { concurrency: EMIT_JOBS_AT_ONCE }, (job) =>
    acceptJob({ accept, logger, payloadBytesMax: settings.payloadBytesMax }, job),
  )
  const sweep = startSweep({ pool, queue, deliver, logger })
  const replays = startReplays({ pool, queue, logger })
  const probe = startProbe({ pool, queue, logger, policy })
  const operationalEvents = startOperationalEvents({ pool, accept, logger })
  const releasePaced = startReleasePaced({ pool, queue, logger })
  const maintenance = startMaintenance({ pool, logger, payloadRetentionMs: settings.payloadRetentionMs })

  return {
    get inFlight() {
      return deliver.inFlight
    },
    async close() {
      await Promise.all([
        sweep.stop(),
        replays.stop(),
        probe.stop(),
        operationalEvents.stop(),
        releasePaced.stop(),
        maintenance.stop(),
        emitWorker.close(),
        drain(deliver, deliveryWorker, surplusWorker),
      ])
      await accept.close()
      await Promise.all([queue.close(), closeEgress()])
    },
  }
}

async function drain(deliver: Deliver, ...workers: { close(): Promise<void> }[]): Promise<void> {
  await Promise.all([deliver.close(DRAIN_MS), ...workers.map((worker) => worker.close())])
}

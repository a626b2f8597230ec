import { waitFor } from '@posthorn/testkit'
import type { BareLoopFigures } from './processes/bare-loop.ts'
import { type CalledProcess, startCalledProcess } from './processes/call-process.ts'
import type { ClosedLoop, Emitted, OpenLoop, Target } from './processes/generator.ts'
import type { Arrivals } from './processes/receiver.ts'
import { reconcile } from './reconcile.ts'
import { type Backend, type BenchPlatform, type CpuSeconds, startPlatform } from './start-platform.ts'

/** What one round measured. */
export interface Round {
  events: number
  deliveries: number
  /** From the first emit to the last arrival. */
  seconds: number
  /** Of the platform's processes, until everything is in the log. */
  cpu: CpuSeconds
  /** From when an event was to be emitted until it came. */
  latenciesMs: number[]
}

/** The platform, a generator and a receiver, each in processes of their own. */
export interface Stage {
  backend: Backend
  platform: BenchPlatform
  /** Registers an owner with endpoints, all of which get all of its events. */
  addOwner(endpoints: number): Promise<Owner>
  closed(owner: Owner, loop: Pick<ClosedLoop, 'entrance' | 'callers' | 'events'>): Promise<Round>
  open(owner: Owner, loop: Pick<OpenLoop, 'perSecond' | 'durationMs'>): Promise<Round>
  /** Deliveries that came since the last round. */
  countArrived(): Promise<number>
  takeArrivals(): Promise<Arrivals>
  /** Deliveries of the bare loop for a CPU second, beside the same receiver. */
  bareLoopPerCpuSecond(): Promise<number>
  close(): Promise<void>
}

export interface Owner {
  uid: string
  endpoints: number
  payloadBytes: number
}

/** A round that lost, doubled or left anything. */
export class BadRoundError extends Error {}

export const TYPE = 'bench.event'
export const PAYLOAD_BYTES = 1_000
export const BARE_LOOP_MS = 1_500
const ARRIVED_WITHIN_MS = 120_000

export async function startStage(backend: Backend, profileDir?: string): Promise<Stage> {
  await using stack = new AsyncDisposableStack()
  const start = (script: string): CalledProcess => {
    const started = startCalledProcess(new URL(`processes/${script}`, import.meta.url))
    stack.defer(() => started.stop())
    return started
  }
  const platform = await startPlatform(backend, profileDir)
  stack.defer(platform.close)
  const receiver = start('receiver.ts')
  const generator = start('generator.ts')
  const bareLoop = start('bare-loop.ts')
  const receiverUrl = await receiver.call<string>('listen')
  await platform.request('POST', '/v1/event-types', { name: TYPE })
  let owners = 0

  const target = ({ uid, payloadBytes }: Owner): Target => ({
    ...{ url: platform.url, apiKey: platform.apiKey, owner: uid, type: TYPE, payloadBytes },
  })

  async function measure(owner: Owner, emit: () => Promise<Emitted>): Promise<Round> {
    // A grown log has deliveries that ended otherwise.
    const notDeliveredBefore = await countNotDelivered()
    const before = platform.cpuSeconds()
    const { ids, intendedAtMs, refused } = await emit()
    const wanted = ids.length * owner.endpoints
    const hasArrived = async () => (await receiver.call<number>('count')) >= wanted
    // What does not arrive is told below, with everything else that is wrong.
    await waitFor(hasArrived, { timeoutMs: ARRIVED_WITHIN_MS }).catch(() => {})
    // The receiver knows of a delivery a moment before the log does.
    await waitFor(async () => (await countPending()) === 0, { timeoutMs: 30_000 }).catch(() => {})
    const after = platform.cpuSeconds()
    const arrivals = await receiver.call<Arrivals>('take')
    const faults = reconcile({
      ...{ emitted: ids, arrived: new Set(arrivals.ids), endpoints: owner.endpoints, refused },
      ...{ deliveries: arrivals.deliveries, doubled: arrivals.doubled },
      notDelivered: (await countNotDelivered()) - notDeliveredBefore,
    })
    if (faults.length > 0) throw new BadRoundError(faults.join(' '))
    const arrivedAtMs = new Map(arrivals.ids.map((id, at) => [id, arrivals.atMs[at]!]))
    return {
      events: ids.length,
      deliveries: wanted,
      seconds:
        (arrivals.atMs.reduce((a, b) => Math.max(a, b)) - intendedAtMs.reduce((a, b) => Math.min(a, b))) /
        1_000,
      cpu: subtract(after, before),
      latenciesMs: ids.map((id, at) => arrivedAtMs.get(id)! - intendedAtMs[at]!),
    }
  }

  async function countPending(): Promise<number> {
    const [row] = await platform.query<{ count: number }>('SELECT count(*)::int FROM deliveries_pending')
    return row!.count
  }

  async function countNotDelivered(): Promise<number> {
    const [row] = await platform.query<{ count: number }>(
      `SELECT count(*)::int FROM deliveries WHERE state <> 'delivered'`,
    )
    return row!.count
  }

  const owned = stack.move()
  return {
    backend,
    platform,
    async addOwner(endpoints) {
      const uid = `owner-${owners++}`
      await platform.request('POST', '/v1/owners', { uid })
      for (let at = 0; at < endpoints; at++) {
        const url = `${receiverUrl}/${uid}/${at}`
        await platform.request('POST', `/v1/owners/${uid}/endpoints`, { url, eventTypes: [TYPE] })
      }
      return { uid, endpoints, payloadBytes: PAYLOAD_BYTES }
    },
    closed: (owner, loop) =>
      measure(owner, () => generator.call<Emitted>('closed', { ...target(owner), ...loop })),
    open: (owner, loop) =>
      measure(owner, () => generator.call<Emitted>('open', { ...target(owner), ...loop })),
    countArrived: () => receiver.call<number>('count'),
    takeArrivals: () => receiver.call<Arrivals>('take'),
    async bareLoopPerCpuSecond() {
      const { deliveries, cpuSeconds } = await bareLoop.call<BareLoopFigures>('run', {
        ...{ url: receiverUrl, payloadBytes: PAYLOAD_BYTES, durationMs: BARE_LOOP_MS },
      })
      return deliveries / cpuSeconds
    },
    close: () => owned.disposeAsync(),
  }
}

export function subtract(after: CpuSeconds, before: CpuSeconds): CpuSeconds {
  return {
    api: after.api - before.api,
    worker: after.worker - before.worker,
    postgres: after.postgres - before.postgres,
    redis: after.redis - before.redis,
  }
}

import { decodeId } from '@posthorn/contracts'
import { waitFor } from '@posthorn/testkit'
import type { BareEmitted, BareLoopFigures, BareOpenLoop } from './processes/bare-loop.ts'
import { type CalledProcess, startCalledProcess } from './processes/call-process.ts'
import type { ClosedLoop, EmittedForOwners, OpenLoop, Target } from './processes/generator.ts'
import type { Arrivals } from './processes/receiver.ts'
import { reconcile } from './reconcile.ts'
import { type Backend, type BenchPlatform, type CpuSeconds, startPlatform } from './start-platform.ts'

/** What one round measured, of the owners that do not hang. */
export interface Round {
  events: number
  deliveries: number
  payloadBytes: number
  /** From the first emit to the last arrival. */
  seconds: number
  /** Of the platform's processes, until everything is in the log. */
  cpu: CpuSeconds
  /** From when an event was to be emitted until it came. */
  latenciesMs: number[]
  /** Of an event's deliveries, from the first to the last. */
  spreadsMs: Float64Array
}

/** The platform, a generator and a receiver, each in processes of their own. */
export interface Stage {
  backend: Backend
  platform: BenchPlatform
  /** Registers an owner with endpoints, all of which get all of its events. */
  addOwner(endpoints: number, options?: OwnerOptions): Promise<Owner>
  /** Of several owners, who take turns, each has as many endpoints and as large payloads. */
  closed(owners: Owners, loop: Pick<ClosedLoop, 'entrance' | 'callers' | 'events'>): Promise<Round>
  open(owners: Owners, loop: Pick<OpenLoop, 'perSecond' | 'durationMs'>): Promise<Round>
  /** Answers what hangs, and takes these owners' endpoints away with all that waits for them. */
  endHanging(owners: readonly Owner[]): Promise<void>
  /** The receiver's; further ones are made. */
  origins(count: number): Promise<string[]>
  /** Deliveries that came since the last round. */
  countArrived(): Promise<number>
  takeArrivals(): Promise<Arrivals>
  /** Deliveries of the bare loop for a CPU second, beside the same receiver. */
  bareLoopPerCpuSecond(payloadBytes?: number): Promise<number>
  /** Events of a closed loop for a CPU second of a server that only takes them. */
  bareServerPerCpuSecond(loop: Pick<ClosedLoop, 'callers' | 'events'>): Promise<number>
  /** Of POSTs on a schedule straight to the receiver, from when each was to be sent until it came. */
  bareLatenciesMs(loop: Pick<OpenLoop, 'perSecond' | 'durationMs'>): Promise<number[]>
  close(): Promise<void>
}

interface OwnerOptions {
  payloadBytes?: number
  /** Its endpoints take each POST and do not answer, until `endHanging`. */
  hangs?: boolean
  /** Of its endpoints, in place of the platform's. */
  attemptTimeoutMs?: number
}

export interface Owner {
  uid: string
  endpoints: number
  endpointIds: string[]
  payloadBytes: number
  hangs: boolean
}

type Owners = Owner | readonly Owner[]

/** A round that lost, doubled or left anything. */
export class BadRoundError extends Error {}

export const TYPE = 'bench.event'
/** 1 KB: of the body as it is sent. */
const PAYLOAD_BYTES = 1_024
export const BARE_LOOP_MS = 1_500
const ARRIVED_WITHIN_MS = 120_000
const HANGING_PATH = '/hanging'
/** With minutes between them, what failed twice would still wait when its round is over. */
const HANGING_RETRIES = { delaysMs: Array.from({ length: 20 }, () => 5_000) }

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
  const bareServer = start('bare-server.ts')
  const bareServerUrl = await bareServer.call<string>('listen')
  const receiverUrl = await receiver.call<string>('listen')
  await platform.request('POST', '/v1/event-types', { name: TYPE })
  let ownersAdded = 0
  /** UUIDs of owners. What becomes of their deliveries is nobody's fault. */
  const hanging: string[] = []

  const target = (owners: readonly Pick<Owner, 'uid' | 'payloadBytes'>[]): Target => ({
    ...{ url: platform.url, urls: platform.urls, apiKey: platform.apiKey, queue: platform.queue, type: TYPE },
    ...{ owners: owners.map(({ uid }) => uid), payloadBytes: owners[0]!.payloadBytes },
  })

  async function measure(owners: readonly Owner[], emit: () => Promise<EmittedForOwners>): Promise<Round> {
    const { endpoints, payloadBytes } = owners[0]!
    // A grown log has deliveries that ended otherwise.
    const notDeliveredBefore = await countNotDelivered()
    const before = platform.cpuSeconds()
    const emitted = await emit()
    const isCounted = (_: unknown, at: number) => !owners[emitted.ownersAt[at]!]!.hangs
    const ids = emitted.ids.filter(isCounted)
    const intendedAtMs = emitted.intendedAtMs.filter(isCounted)
    const wanted = ids.length * endpoints
    const hasArrived = async () => (await receiver.call<number>('count')) >= wanted
    // What does not arrive is told below, with everything else that is wrong.
    await waitFor(hasArrived, { timeoutMs: ARRIVED_WITHIN_MS }).catch(() => {})
    // The receiver knows of a delivery a moment before the log does.
    await waitFor(async () => (await countPending()) === 0, { timeoutMs: 30_000 }).catch(() => {})
    const after = platform.cpuSeconds()
    const arrivals = await receiver.call<Arrivals>('take')
    const faults = reconcile({
      ...{ emitted: ids, arrived: new Set(arrivals.ids), endpoints, refused: emitted.refused },
      ...{ deliveries: arrivals.deliveries, doubled: arrivals.doubled },
      notDelivered: (await countNotDelivered()) - notDeliveredBefore,
    })
    if (faults.length > 0) throw new BadRoundError(faults.join(' '))
    const arrivedAtMs = new Map(arrivals.ids.map((id, at) => [id, arrivals.atMs[at]!]))
    return {
      events: ids.length,
      deliveries: wanted,
      payloadBytes,
      seconds:
        (arrivals.atMs.reduce((a, b) => Math.max(a, b)) - intendedAtMs.reduce((a, b) => Math.min(a, b))) /
        1_000,
      cpu: subtract(after, before),
      latenciesMs: ids.map((id, at) => arrivedAtMs.get(id)! - intendedAtMs[at]!),
      spreadsMs: arrivals.spreadsMs,
    }
  }

  async function count(table: string, condition: string): Promise<number> {
    const [row] = await platform.query<{ count: number }>(
      `SELECT count(*)::int FROM ${table} WHERE ${condition}`,
    )
    return row!.count
  }

  function isOfCountedOwner(): string {
    return hanging.length === 0 ? 'true' : `owner_id NOT IN (${hanging.map((id) => `'${id}'`)})`
  }

  const countPending = () => count('deliveries_pending', isOfCountedOwner())
  const countNotDelivered = () => count('deliveries', `state <> 'delivered' AND ${isOfCountedOwner()}`)

  const owned = stack.move()
  return {
    backend,
    platform,
    async addOwner(endpoints, { payloadBytes = PAYLOAD_BYTES, hangs = false, attemptTimeoutMs = null } = {}) {
      const uid = `owner-${ownersAdded++}`
      const owner = await platform.request<{ id: string }>('POST', '/v1/owners', { uid })
      if (hangs) {
        hanging.push(decodeId('own', owner.id)!)
        await receiver.call('hang', HANGING_PATH)
      }
      const endpointIds: string[] = []
      for (let at = 0; at < endpoints; at++) {
        const url = `${receiverUrl}${hangs ? HANGING_PATH : ''}/${uid}/${at}`
        const { id } = await platform.request<{ id: string }>('POST', `/v1/owners/${uid}/endpoints`, {
          ...{ url, eventTypes: [TYPE], attemptTimeoutMs },
          ...(hangs && { retryPolicy: HANGING_RETRIES }),
        })
        endpointIds.push(id)
      }
      return { uid, endpoints, endpointIds, payloadBytes, hangs }
    },
    closed: (owners, loop) =>
      measure(listOf(owners), () =>
        generator.call<EmittedForOwners>('closed', { ...target(listOf(owners)), ...loop }),
      ),
    open: (owners, loop) =>
      measure(listOf(owners), () =>
        generator.call<EmittedForOwners>('open', { ...target(listOf(owners)), ...loop }),
      ),
    async endHanging(owners) {
      for (const { uid, endpointIds } of owners) {
        for (const id of endpointIds) {
          await platform.request('DELETE', `/v1/owners/${uid}/endpoints/${id}`)
        }
      }
      await receiver.call('letGo')
      // What was parked comes again only after up to 24 s, and would be in the way of the next round.
      await platform.query(`UPDATE deliveries_pending SET due_at = least(due_at, now()), wake_at = now()
        WHERE lease_until IS NULL OR lease_until <= now()`)
      const isOver = async () => (await count('deliveries_pending', 'true')) === 0
      await waitFor(isOver, { timeoutMs: 60_000 }).catch(() => {
        throw new BadRoundError(
          'Deliveries to endpoints that hung are pending, a minute after these were deleted.',
        )
      })
    },
    async origins(count) {
      return [receiverUrl, ...(await receiver.call<string[]>('listenOnMore', count - 1))]
    },
    countArrived: () => receiver.call<number>('count'),
    takeArrivals: () => receiver.call<Arrivals>('take'),
    async bareLoopPerCpuSecond(payloadBytes = PAYLOAD_BYTES) {
      const { deliveries, cpuSeconds } = await bareLoop.call<BareLoopFigures>('run', {
        ...{ url: receiverUrl, payloadBytes, durationMs: BARE_LOOP_MS },
      })
      return deliveries / cpuSeconds
    },
    async bareServerPerCpuSecond(loop) {
      const before = await bareServer.call<number>('cpuSeconds')
      const nobody = { uid: 'nobody', payloadBytes: PAYLOAD_BYTES }
      const closed: ClosedLoop = {
        ...{ ...target([nobody]), url: bareServerUrl, urls: [bareServerUrl] },
        ...{ ...loop, entrance: 'rest' },
      }
      const { ids } = await generator.call<EmittedForOwners>('closed', closed)
      return ids.length / ((await bareServer.call<number>('cpuSeconds')) - before)
    },
    async bareLatenciesMs(loop) {
      const bareOpen: BareOpenLoop = { ...loop, url: receiverUrl, payloadBytes: PAYLOAD_BYTES }
      const { ids, intendedAtMs } = await bareLoop.call<BareEmitted>('open', bareOpen)
      const arrivals = await receiver.call<Arrivals>('take')
      const arrivedAtMs = new Map(arrivals.ids.map((id, at) => [id, arrivals.atMs[at]!]))
      return ids.map((id, at) => arrivedAtMs.get(id)! - intendedAtMs[at]!)
    },
    close: () => owned.disposeAsync(),
  }
}

function listOf(owners: Owners): readonly Owner[] {
  return 'uid' in owners ? [owners] : owners
}

export function subtract(after: CpuSeconds, before: CpuSeconds): CpuSeconds {
  return {
    api: after.api - before.api,
    worker: after.worker - before.worker,
    postgres: after.postgres - before.postgres,
    redis: after.redis - before.redis,
  }
}

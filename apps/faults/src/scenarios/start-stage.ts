import { setTimeout as delay } from 'node:timers/promises'
import { decodeId, encodeId, newUuid } from '@posthorn/contracts'
import { waitFor } from '@posthorn/testkit'
import { type LedgerReceiver, startLedgerReceiver } from '../ledger-receiver.ts'
import { type Backend, type Platform, startPlatform } from '../start-field.ts'
import type { Round } from './compare-rounds.ts'
import { createOpenLoop, type Emission, type Flow, type OpenLoop } from './open-loop.ts'

/** An owner with endpoints, all of which get all of its events. */
interface StageOwner {
  uid: string
  endpoints: { id: string; path: string }[]
}

/** The real processes, a receiver that can behave differently at each endpoint, and an open loop. */
export interface Stage {
  platform: Platform
  receiver: LedgerReceiver
  openLoop: OpenLoop
  owners: StageOwner[]
  flow(owner: StageOwner, perSecond: number): Flow
  /** Emits in batches, as fast as they are taken, and does not wait for what comes of it. */
  fill(owner: StageOwner, count: number): Promise<void>
  /** What these emissions measured, as soon as all were received or after `boundMs`. */
  measure(emissions: readonly Emission[], boundMs: number): Promise<Round>
  /** When each endpoint takes its first POST from now on; filled as they come. */
  firstTaken(): ReadonlyMap<string, number>
  /** Deliveries that have not ended, of all endpoints or of some. */
  pending(endpoints?: readonly string[]): Promise<number>
  /** Resolves when every delivery has ended, or rejects after `boundMs`. */
  drain(boundMs: number): Promise<void>
  close(): Promise<void>
}

const TYPE = 'scenario.event'
const BATCH = 500
/** Each look takes a connection of its own. */
const DRAIN_POLL_MS = 250

export async function startStage(options: {
  backend: Backend
  owners: number
  endpointsEach?: number
  settings?: Record<string, string>
}): Promise<Stage> {
  await using stack = new AsyncDisposableStack()
  const platform = await startPlatform({
    backend: options.backend,
    isBreakable: false,
    ...(options.settings !== undefined && { settings: options.settings }),
  })
  stack.defer(platform.close)
  const openLoop = createOpenLoop(platform)
  stack.defer(() => openLoop.close())
  let firstTaken = new Map<string, number>()
  const receiver = await startLedgerReceiver({
    isUnaltered: () => true,
    onTaken: () => {},
    onTaking(key) {
      const [id, endpoint] = key.split('/')
      openLoop.received(id!, endpoint!)
      if (!firstTaken.has(endpoint!)) firstTaken.set(endpoint!, performance.now())
    },
  })
  stack.defer(() => receiver.close())

  const post = async <T>(path: string, body: unknown): Promise<T> => {
    const response = await fetch(platform.url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${platform.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as T
  }

  async function registerOwner(at: number): Promise<StageOwner> {
    const uid = `owner-${at}`
    await post('/v1/owners', { uid })
    const endpoints: StageOwner['endpoints'] = []
    for (let endpointAt = 0; endpointAt < (options.endpointsEach ?? 1); endpointAt++) {
      const path = `/${at}/${endpointAt}`
      const created = await post<{ id: string; secret: string }>(`/v1/owners/${uid}/endpoints`, {
        url: receiver.url + path,
        eventTypes: [TYPE],
      })
      receiver.trust(path, created)
      endpoints.push({ id: created.id, path })
    }
    return { uid, endpoints }
  }

  await post('/v1/event-types', { name: TYPE })
  const owners: StageOwner[] = []
  for (let at = 0; at < options.owners; at++) owners.push(await registerOwner(at))

  async function pending(endpoints?: readonly string[]): Promise<number> {
    const [row] = await platform.query<{ pending: number }>(
      `SELECT count(*)::int AS pending FROM deliveries_pending
       WHERE $1::uuid[] IS NULL OR endpoint_id = ANY ($1::uuid[])`,
      [endpoints?.map((id) => decodeId('ep', id)) ?? null],
    )
    return row!.pending
  }

  const owned = stack.move()
  return {
    ...{ platform, receiver, openLoop, owners, pending },
    flow: ({ uid, endpoints }, perSecond) => ({
      ...{ owner: uid, type: TYPE, perSecond },
      endpoints: endpoints.map(({ id }) => id),
    }),
    async fill({ uid }, count) {
      for (let left = count; left > 0; left -= BATCH) {
        const messages = Array.from({ length: Math.min(left, BATCH) }, () => ({
          ...{ owner: uid, type: TYPE, id: encodeId('msg', newUuid()) },
          data: { text: 'one of many' },
        }))
        const { data } = await post<{ data: { status: number }[] }>('/v1/messages/batch', { messages })
        const refused = data.find(({ status }) => status !== 202)
        if (refused !== undefined) throw new Error(`A batch was answered ${refused.status}.`)
      }
    },
    async measure(emissions, boundMs) {
      const missing = () =>
        emissions.reduce((sum, { endpoints, receivedAtMs }) => sum + endpoints.length - receivedAtMs.size, 0)
      await waitFor(() => missing() === 0, { timeoutMs: boundMs }).catch(() => {})
      const latenciesMs = emissions.flatMap(({ intendedAtMs, receivedAtMs }) =>
        [...receivedAtMs.values()].map((atMs) => atMs - intendedAtMs),
      )
      return { latenciesMs, missing: missing() }
    },
    firstTaken() {
      firstTaken = new Map()
      return firstTaken
    },
    async drain(boundMs) {
      const untilMs = performance.now() + boundMs
      for (let left = await pending(); left > 0; left = await pending()) {
        if (performance.now() > untilMs) throw new Error(`${left} deliveries did not end in ${boundMs} ms.`)
        await delay(DRAIN_POLL_MS)
      }
    },
    close: () => owned.disposeAsync(),
  }
}

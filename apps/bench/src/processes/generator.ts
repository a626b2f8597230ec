// Emits: in a closed loop, where each connection waits for its answer, or in an open one, on a schedule that
// was fixed before.
import { randomBytes } from 'node:crypto'
import { encodeId, newUuid } from '@posthorn/contracts'
import { Posthorn, type QueueTarget } from '@posthorn/emitter'
import { Pool } from 'undici'
import { answerCalls, sharedNowMs } from './call-process.ts'
import { onSchedule, type Schedule } from './on-schedule.ts'

export interface Target {
  /** Where the SDK emits. */
  url: string
  /** Over which requests are spread, as many connections to each. */
  urls: readonly string[]
  apiKey: string
  queue: QueueTarget
  /** They take turns. */
  owners: readonly string[]
  type: string
  /** Of the body as it is sent. */
  payloadBytes: number
}

/**
 * `rest`: an event a request; `batch`: 100 a request; `sdk`: concurrent calls of `emit`; `queue`: the same,
 * straight into the queue.
 */
export type Entrance = 'rest' | 'batch' | 'sdk' | 'queue'

export interface ClosedLoop extends Target {
  entrance: Entrance
  /** Requests (or calls) under way at once. */
  callers: number
  events: number
}

export type OpenLoop = Target & Schedule

export interface Emitted {
  ids: string[]
  /** By the shared clock: when each was to be emitted, whatever came between. */
  intendedAtMs: Float64Array
  /** Answers that were no 202, by status. */
  refused: Record<string, number>
}

export interface EmittedForOwners extends Emitted {
  /** Whose each is, by the place in `owners`. */
  ownersAt: Uint32Array
}

const BATCH = 100
/** More than an API answers at once. */
const OPEN_CONNECTIONS = 256

function createClient({ urls, apiKey }: Target, connections: number) {
  const pools = urls.map(
    (url) => new Pool(url, { connections: Math.ceil(connections / urls.length), pipelining: 1 }),
  )
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
  return {
    /** @param at callers of the same remainder share connections to the same URL */
    async post(at: number, path: string, body: unknown): Promise<{ status: number; text: string }> {
      const pool = pools[at % pools.length]!
      const response = await pool.request({ method: 'POST', path, headers, body: JSON.stringify(body) })
      return { status: response.statusCode, text: await response.body.text() }
    },
    close: () => Promise.all(pools.map((pool) => pool.close())),
  }
}

function createRecord() {
  const ids: string[] = []
  const intendedAtMs: number[] = []
  const ownersAt: number[] = []
  const refused: Record<string, number> = {}
  return {
    taken(id: string, atMs: number, ownerAt: number) {
      ids.push(id)
      intendedAtMs.push(atMs)
      ownersAt.push(ownerAt)
    },
    refused(status: number | string) {
      refused[status] = (refused[status] ?? 0) + 1
    },
    get: (): EmittedForOwners => ({
      ids,
      intendedAtMs: Float64Array.from(intendedAtMs),
      ownersAt: Uint32Array.from(ownersAt),
      refused,
    }),
  }
}

/** @returns what makes the next event */
function createEvents({ owners, type, payloadBytes }: Target) {
  const timestamp = new Date().toISOString()
  const textLength = payloadBytes - JSON.stringify({ type, timestamp, data: { text: '' } }).length
  // Of no repeats: PostgreSQL compresses what is large, and a letter again and again to nothing.
  const text = randomBytes(textLength).toString('base64').slice(0, textLength)
  let events = 0
  return () => {
    const ownerAt = events++ % owners.length
    const event = { owner: owners[ownerAt]!, type, id: encodeId('msg', newUuid()), data: { text } }
    return { event, ownerAt }
  }
}

async function runClosed(loop: ClosedLoop): Promise<EmittedForOwners> {
  const record = createRecord()
  let left = loop.events
  const client = createClient(loop, loop.callers)
  const { url, apiKey, queue } = loop
  const posthorn = new Posthorn(loop.entrance === 'queue' ? { queue } : { url, apiKey })
  const nextEvent = createEvents(loop)
  async function emit() {
    left -= 1
    const { event, ownerAt } = nextEvent()
    const atMs = sharedNowMs()
    const { id } = await posthorn.emit(event.type, event.data, { owner: event.owner })
    record.taken(id, atMs, ownerAt)
  }
  const steps: Record<Entrance, (caller: number) => Promise<void>> = {
    async rest(caller) {
      left -= 1
      const { event, ownerAt } = nextEvent()
      const atMs = sharedNowMs()
      const { status } = await client.post(caller, '/v1/messages', event)
      if (status === 202) record.taken(event.id, atMs, ownerAt)
      else record.refused(status)
    },
    async batch(caller) {
      const batch = Array.from({ length: Math.min(BATCH, left) }, nextEvent)
      const messages = batch.map(({ event }) => event)
      left -= messages.length
      const atMs = sharedNowMs()
      const { status, text } = await client.post(caller, '/v1/messages/batch', { messages })
      if (status !== 200) return record.refused(status)
      const { data } = JSON.parse(text) as { data: { status: number }[] }
      for (const [at, result] of data.entries()) {
        if (result.status === 202) record.taken(messages[at]!.id, atMs, batch[at]!.ownerAt)
        else record.refused(result.status)
      }
    },
    sdk: emit,
    queue: emit,
  }
  const call = async (caller: number) => {
    while (left > 0) await steps[loop.entrance](caller)
  }
  await Promise.all(Array.from({ length: loop.callers }, (_, caller) => call(caller)))
  await Promise.all([client.close(), posthorn.close()])
  return record.get()
}

async function runOpen(loop: OpenLoop): Promise<EmittedForOwners> {
  const record = createRecord()
  const client = createClient(loop, OPEN_CONNECTIONS)
  const nextEvent = createEvents(loop)
  let requests = 0
  await onSchedule(loop, async (atMs) => {
    const { event, ownerAt } = nextEvent()
    await client.post(requests++, '/v1/messages', event).then(
      ({ status }) => (status === 202 ? record.taken(event.id, atMs, ownerAt) : record.refused(status)),
      (error: NodeJS.ErrnoException) => record.refused(error.code ?? error.message),
    )
  })
  await client.close()
  return record.get()
}

answerCalls({ closed: runClosed, open: runOpen })

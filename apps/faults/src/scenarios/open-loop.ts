import { Agent, type IncomingMessage, request } from 'node:http'
import { encodeId, newUuid } from '@posthorn/contracts'
import { seededRandom } from '@posthorn/testkit'
import type { Emitted } from '../verdict.ts'

/** Events of one type for one owner. */
export interface Flow {
  owner: string
  type: string
  /** `ep_…`, of those that they have to arrive at. */
  endpoints: readonly string[]
  perSecond: number
}

export interface Emission extends Emitted {
  flow: Flow
  /** Of `performance.now`, as the others: when it had to be emitted, whatever came between. */
  intendedAtMs: number
  answeredAtMs: number | undefined
  /** First arrivals, by endpoint. */
  receivedAtMs: Map<string, number>
}

/** Emits on a schedule that was fixed before, however slow the answers are. */
export interface OpenLoop {
  /** All so far, in the order of the schedule. */
  emissions: readonly Emission[]
  /** Resolves with what was emitted when the last has been sent; answers may be missing. */
  run(flows: readonly Flow[], durationMs: number, seed: number): Promise<Emission[]>
  /** The receiver tells what came. */
  received(id: string, endpoint: string): void
  /** Emits that were not answered yet. */
  readonly unanswered: number
  close(): void
}

const TEXT_BYTES = 300
/** More than an API answers at once, and far below what a process may have open. */
const CONNECTIONS_MAX = 256

export function createOpenLoop({ url, apiKey }: { url: string; apiKey: string }): OpenLoop {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX })
  const target = new URL('/v1/messages', url)
  const emissions: Emission[] = []
  const emissionOf = new Map<string, Emission>()
  const text = 'x'.repeat(TEXT_BYTES)
  let unanswered = 0

  async function emit(emission: Emission): Promise<void> {
    const { flow, id } = emission
    unanswered += 1
    emission.answer = await post({ owner: flow.owner, type: flow.type, id, data: { text } }).then(
      ({ status, deliveries }) => {
        emission.deliveries = deliveries
        return status === 202 ? 'accepted' : String(status)
      },
      (error: NodeJS.ErrnoException) => error.code ?? error.message,
    )
    emission.answeredAtMs = performance.now()
    unanswered -= 1
  }

  function post(body: unknown): Promise<{ status: number; deliveries: number | undefined }> {
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
      const sent = request(target, { method: 'POST', agent, headers }, (response) => {
        readBody(response).then((answer) => {
          const status = response.statusCode!
          resolve({ status, deliveries: status === 202 ? JSON.parse(answer).deliveries : undefined })
        }, reject)
      })
      sent.on('error', reject)
      sent.end(JSON.stringify(body))
    })
  }

  return {
    emissions,
    async run(flows, durationMs, seed) {
      const startMs = performance.now()
      const planned = schedule(flows, durationMs, seed)
      const mine: Emission[] = []
      for (const { flow, atMs } of planned) {
        const intendedAtMs = startMs + atMs
        while (performance.now() < intendedAtMs) await untilMs(intendedAtMs)
        const emission: Emission = {
          ...{ flow, intendedAtMs, answeredAtMs: undefined, receivedAtMs: new Map<string, number>() },
          ...{ id: encodeId('msg', newUuid()), answer: 'unanswered', endpoints: flow.endpoints },
          deliveries: undefined,
        }
        emissions.push(emission)
        emissionOf.set(emission.id!, emission)
        mine.push(emission)
        void emit(emission)
      }
      while (performance.now() < startMs + durationMs) await untilMs(startMs + durationMs)
      return mine
    },
    received(id, endpoint) {
      const arrivals = emissionOf.get(id)?.receivedAtMs
      if (arrivals?.has(endpoint) === false) arrivals.set(endpoint, performance.now())
    },
    get unanswered() {
      return unanswered
    },
    close: () => agent.destroy(),
  }
}

/** When each event is due, in milliseconds from the start: evenly spaced in each flow, flows out of step. */
export function schedule(
  flows: readonly Flow[],
  durationMs: number,
  seed: number,
): { flow: Flow; atMs: number }[] {
  const random = seededRandom(seed)
  return flows
    .flatMap((flow) => {
      const everyMs = 1_000 / flow.perSecond
      const offsetMs = random.next() * everyMs
      const count = Math.max(0, Math.ceil((durationMs - offsetMs) / everyMs))
      return Array.from({ length: count }, (_, at) => ({ flow, atMs: offsetMs + at * everyMs }))
    })
    .sort((a, b) => a.atMs - b.atMs)
}

function untilMs(timeMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, timeMs - performance.now())))
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

import { Posthorn, PosthornError } from '@posthorn/emitter'
import { type Random, seededRandom } from '@posthorn/testkit'
import { deliveryKey, type Emitted } from './verdict.ts'

/** Who may be emitted for, and where it then has to arrive. */
export interface Subscription {
  owner: string
  type: string
  /** `ep_…`. */
  endpoints: string[]
}

interface EmittedEntry extends Emitted {
  /** Counts from 0; it is in the data, so that receivers can tell. */
  n: number
  owner: string
  type: string
  emittedAtMs: number
  answeredAtMs: number | undefined
}

/** A seeded load through the SDK, and the client's ledger of it. */
export interface Load {
  ledger: EmittedEntry[]
  /** Emits events in a steady stream until `pause`. */
  resume(): void
  pause(): void
  /** One event more, with data of its own. */
  emit(data: (n: number) => object): Promise<void>
  /** Resolves when the next event was acknowledged, or after `boundMs`. */
  nextAccepted(boundMs?: number): Promise<void>
  /** Emits that were not answered yet. */
  readonly unanswered: number
  /** The receiver tells what it took. */
  taken(key: string): void
  /** For how long the oldest event has waited for its answer or for one of its deliveries, in milliseconds. */
  oldestWaitMs(): number
  /** Acknowledged deliveries that the receiver has not taken. */
  readonly outstanding: number
  isUnaltered(id: string, body: Buffer): boolean
  close(): Promise<void>
}

const TICK_MS = 20
/** While the platform is away, the stream waits instead of filling memory. */
const UNANSWERED_MAX = 2_000
const TEXT_BYTES_MAX = 2_000

export function driveLoad(options: {
  url: string
  apiKey: string
  subscriptions: readonly Subscription[]
  perSecond: number
  seed: number
}): Load {
  const { subscriptions, perSecond, seed } = options
  const random = seededRandom(seed)
  const posthorn = new Posthorn({
    url: options.url,
    apiKey: options.apiKey,
    timeoutMs: 5_000,
    deadlineMs: 30_000,
    retries: 30,
  })
  const ledger: EmittedEntry[] = []
  const unanswered = new Set<EmittedEntry>()
  /** Acknowledged and not taken yet, with when it was acknowledged; in that order. */
  const outstanding = new Map<string, number>()
  const taken = new Set<string>()
  /** JSON text of data that is not `dataOf`. */
  const special = new Map<number, string>()
  const acceptedListeners = new Set<() => void>()
  let timer: NodeJS.Timeout | undefined
  let owed = 0

  async function emit(data?: (n: number) => object): Promise<void> {
    const { owner, type, endpoints } = random.pick(subscriptions)
    const n = ledger.length
    const entry: EmittedEntry = {
      ...{ n, owner, type, endpoints, id: undefined, answer: 'unanswered', deliveries: undefined },
      ...{ emittedAtMs: Date.now(), answeredAtMs: undefined },
    }
    ledger.push(entry)
    unanswered.add(entry)
    const value = data?.(n) ?? dataOf(seed, n)
    if (data !== undefined) special.set(n, JSON.stringify(value))
    try {
      const message = await posthorn.emit(type, value, { owner })
      entry.id = message.id
      entry.answer = 'accepted'
      entry.deliveries = message.deliveries
    } catch (error) {
      if (!(error instanceof PosthornError)) throw error
      entry.id = error.messageId
      entry.answer = error.code
    }
    unanswered.delete(entry)
    entry.answeredAtMs = Date.now()
    if (entry.answer !== 'accepted') return
    for (const endpoint of endpoints) {
      const key = deliveryKey(entry.id!, endpoint)
      if (!taken.delete(key)) outstanding.set(key, entry.answeredAtMs)
    }
    for (const listener of acceptedListeners) listener()
  }

  return {
    ledger,
    resume() {
      timer ??= setInterval(() => {
        // Open loop with a random number each tick, so that commits are of all sizes.
        owed += (perSecond * TICK_MS * 2 * random.next()) / 1_000
        for (; owed >= 1; owed -= 1) if (unanswered.size < UNANSWERED_MAX) void emit()
      }, TICK_MS)
    },
    pause() {
      clearInterval(timer)
      timer = undefined
    },
    emit,
    nextAccepted: (boundMs = 3_000) =>
      new Promise((resolve) => {
        const done = () => {
          acceptedListeners.delete(done)
          clearTimeout(bound)
          resolve()
        }
        const bound = setTimeout(done, boundMs)
        acceptedListeners.add(done)
      }),
    get unanswered() {
      return unanswered.size
    },
    taken(key) {
      // It may arrive before its emit is answered.
      if (!outstanding.delete(key)) taken.add(key)
    },
    oldestWaitMs() {
      const [emit] = unanswered
      const [acknowledgedAtMs] = outstanding.values()
      const nowMs = Date.now()
      return nowMs - Math.min(emit?.emittedAtMs ?? nowMs, acknowledgedAtMs ?? nowMs)
    },
    get outstanding() {
      return outstanding.size
    },
    isUnaltered(id, body) {
      const text = body.toString()
      const n = Number(/"data":\{"n":(\d+)[,}]/.exec(text)?.[1])
      const entry = ledger[n]
      if (entry === undefined || (entry.id !== undefined && entry.id !== id)) return false
      return text.endsWith(`,"data":${special.get(n) ?? JSON.stringify(dataOf(seed, n))}}`)
    },
    async close() {
      clearInterval(timer)
      await posthorn.close()
    },
  }
}

/** The data of the `n`th event, made again where it is compared. */
function dataOf(seed: number, n: number): { n: number; text: string } {
  const random: Random = seededRandom(seed * 1_000_003 + n)
  return { n, text: 'x'.repeat(random.between(0, TEXT_BYTES_MAX)) }
}

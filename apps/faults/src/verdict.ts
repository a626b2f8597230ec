/** What the client knows: one entry an event that it tried to emit. */
export interface Emitted {
  /** `msg_…`, as the SDK made it; undefined while it is not known. */
  id: string | undefined
  /** `accepted`, or the code of the error. */
  answer: string
  /** Endpoints that were subscribed when it was emitted. */
  endpoints: readonly string[]
  /** How many endpoints the answer spoke of, where it was accepted. */
  deliveries: number | undefined
}

/** What the receiver knows of one message at one endpoint. */
export interface Received {
  /** `msg_…`. */
  id: string
  endpoint: string
  posts: number
  /** How many of them it took. Those that it refused, cut or answered too late are not among them. */
  taken: number
  /** How many of those it could still answer; the sender of the others was gone. */
  answered: number
  /** Signatures that did not verify. */
  unverified: number
  /** Bodies that were not the bytes that were emitted. */
  altered: number
}

/** What the database knows of one delivery. */
export interface Recorded {
  /** `msg_…`. */
  id: string
  endpoint: string
  state: string
  attempts: number
  /** Rows in the log of attempts. */
  logged: number
  /** Those of them that got no whole answer: the receiver may have taken the message all the same. */
  unanswered: number
  /** The outcome of the last row; undefined without one. */
  lastOutcome: string | undefined
  /** For how long it has been due, at the end; undefined where it has no due time. */
  overdueMs: number | undefined
}

export type Rule =
  /** Acknowledged, and neither received nor visibly ended. */
  | 'lost'
  /** Acknowledged, and the database has no such delivery. */
  | 'vanished'
  /** Recorded as delivered, and the receiver never took it. */
  | 'false-delivered'
  /** Received or recorded, and never emitted. */
  | 'unknown-id'
  | 'unverified'
  | 'altered'
  /** Neither ended nor due, or due for long and left alone. */
  | 'stuck'
  /** The count of attempts, their log and the state do not fit together. */
  | 'attempts-disagree'
  /** The database has two deliveries of one message to one endpoint. */
  | 'doubled'
  /** The answer named another number of deliveries than match. */
  | 'wrong-fan-out'
  | 'too-many-duplicates'

export interface Finding {
  rule: Rule
  id: string
  endpoint: string
}

export interface Verdict {
  /** Deliveries: acknowledged messages × the endpoints that matched. */
  acknowledged: number
  lost: number
  /** POSTs of what the receiver had taken before. */
  duplicates: number
  /** Those of them that followed an attempt without an answer: the receiver took it, and said so too late. */
  duplicatesUnanswered: number
  findings: Finding[]
}

export interface VerdictOptions {
  /** Of 10,000 deliveries, faults included. */
  duplicatesPer10kMax: number
  /** A delivery that is due for longer than this when everything has settled was forgotten. */
  overdueMaxMs: number
}

/** Delivered is not among them: a delivery that ended so has to have been received. */
const VISIBLY_ENDED = new Set(['dead', 'cancelled', 'skipped'])

/** Holds the three ledgers against each other. */
export function judge(
  emitted: Iterable<Emitted>,
  received: Iterable<Received>,
  recorded: Iterable<Recorded>,
  options: VerdictOptions,
): Verdict {
  const findings: Finding[] = []
  const find = (rule: Rule, id: string, endpoint = '') => findings.push({ rule, id, endpoint })
  const receivedAt = byDelivery(received)
  const recordedAt = byDelivery(recorded, ({ id, endpoint }) => find('doubled', id, endpoint))
  const known = new Set<string>()
  let acknowledged = 0

  for (const { id, answer, endpoints, deliveries } of emitted) {
    if (id === undefined) continue
    known.add(id)
    if (answer !== 'accepted') continue
    acknowledged += endpoints.length
    if (deliveries !== endpoints.length) find('wrong-fan-out', id)
    for (const endpoint of endpoints) {
      const key = deliveryKey(id, endpoint)
      const row = recordedAt.get(key)
      const answered = (receivedAt.get(key)?.answered ?? 0) > 0
      if (row === undefined) find('vanished', id, endpoint)
      if (!answered && !VISIBLY_ENDED.has(row?.state ?? '')) find('lost', id, endpoint)
    }
  }

  let duplicates = 0
  let duplicatesUnanswered = 0
  for (const [key, { id, endpoint, taken, unverified, altered }] of receivedAt) {
    const again = Math.max(0, taken - 1)
    duplicates += again
    duplicatesUnanswered += Math.min(again, recordedAt.get(key)?.unanswered ?? 0)
    if (!known.has(id)) find('unknown-id', id, endpoint)
    if (unverified > 0) find('unverified', id, endpoint)
    if (altered > 0) find('altered', id, endpoint)
  }

  for (const row of recordedAt.values()) {
    const { id, endpoint } = row
    if (!known.has(id)) find('unknown-id', id, endpoint)
    if (isStuck(row, options.overdueMaxMs)) find('stuck', id, endpoint)
    if (attemptsDisagree(row)) find('attempts-disagree', id, endpoint)
    const answered = (receivedAt.get(deliveryKey(id, endpoint))?.answered ?? 0) > 0
    if (row.state === 'delivered' && !answered) find('false-delivered', id, endpoint)
  }

  if (duplicates * 10_000 > options.duplicatesPer10kMax * acknowledged) find('too-many-duplicates', '')
  const lost = new Set(
    findings
      .filter(({ rule }) => rule === 'lost' || rule === 'vanished')
      .map(({ id, endpoint }) => deliveryKey(id, endpoint)),
  ).size
  return { acknowledged, lost, duplicates, duplicatesUnanswered, findings }
}

export function deliveryKey(id: string, endpoint: string): string {
  return `${id}/${endpoint}`
}

function byDelivery<T extends { id: string; endpoint: string }>(
  entries: Iterable<T>,
  onSecond?: (entry: T) => void,
): Map<string, T> {
  const map = new Map<string, T>()
  for (const entry of entries) {
    const key = deliveryKey(entry.id, entry.endpoint)
    if (map.has(key)) onSecond?.(entry)
    map.set(key, entry)
  }
  return map
}

function isStuck({ state, overdueMs }: Recorded, overdueMaxMs: number): boolean {
  return state === 'pending' && (overdueMs === undefined || overdueMs > overdueMaxMs)
}

function attemptsDisagree({ state, attempts, logged, lastOutcome }: Recorded): boolean {
  return attempts !== logged || (state === 'delivered' && lastOutcome !== 'delivered')
}

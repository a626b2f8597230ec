import { operationalEvents } from '@posthorn/contracts'
import type { Held } from './claim-deliveries.ts'
import { aboutEndpoint, isSubscribed } from './operational-events.ts'
import { type Pool, plainArray } from './pool.ts'

export type EndState = 'delivered' | 'dead' | 'cancelled' | 'skipped'

/** Parts of an attempt's duration, in milliseconds; the first three where it opened a connection. */
export interface AttemptTimings {
  dnsMs?: number
  connectMs?: number
  tlsMs?: number
  firstByteMs?: number
}

/** An attempt that was made, and what becomes of its delivery. */
export interface AttemptResult {
  deliveryId: string
  claim: string
  /** From 1. */
  number: number
  startedAt: Date
  durationMs: number
  /** `delivered`, `rejected` (an answer that is not 2xx), or the code of a failed POST. */
  outcome: string
  status?: number
  detail?: string
  timings?: AttemptTimings
  /** A JSON text. */
  responseHeaders?: string
  responseBody?: Buffer
  responseBodyTruncated: boolean
  /** The delay counts from the commit, by the database's clock. */
  next: { state: 'pending'; delayMs: number } | { state: EndState }
}

// Keys:    a delivery ends once, and its row has the attempt that ended it; (delivery_id, number): an attempt
//          that another one is to follow is logged once
// Input:   $1 … $16 one array a column, $17 and $18 offset (from 1; null without a body) and length into $19
// Output:  the ids of the deliveries whose result was written; the others' claims were lost
// Fence:   a row is touched only under the claim that the attempt was made under
// Expunged: of an answer to a message that was expunged meanwhile nothing is kept, and what would be sent again
//          is due at once, to be found without a payload and to end
//
// An ended delivery leaves the working set and is inserted into the log in the same statement:
// it is always in exactly one of the two. In the order of ids, as the pages of its indexes then are fuller.
const RECORD = `
WITH input AS MATERIALIZED (
  SELECT * FROM ROWS FROM (
    unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::int2[]), unnest($4::timestamptz[]), unnest($5::real[]),
    unnest($6::text[]), unnest($7::int2[]), unnest($8::text[]), unnest($9::real[]), unnest($10::real[]),
    unnest($11::real[]), unnest($12::real[]), unnest($13::json[]), unnest($14::bool[]),
    unnest($15::delivery_state[]), unnest($16::bigint[]), unnest($17::int[]), unnest($18::int[])
  ) AS i (delivery_id, claim, number, started_at, duration_ms, outcome, status, detail, dns_ms, connect_ms, tls_ms,
    first_byte_ms, headers, truncated, state, delay_ms, start, length)
), left_pending AS (
  DELETE FROM deliveries_pending d USING input i
  WHERE d.id = ANY ($1::uuid[]) AND d.id = i.delivery_id AND d.claim = i.claim AND i.state <> 'pending'
  RETURNING d.id, i.state, d.message_id, d.endpoint_id, d.owner_id, d.event_type, i.number, i.status,
    i.duration_ms, i.started_at, i.outcome, i.detail, i.dns_ms, i.connect_ms, i.tls_ms, i.first_byte_ms,
    i.headers, i.start, i.length, i.truncated, d.expunged
), ended AS (
  INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at,
    status, duration_ms, started_at, outcome, detail, dns_ms, connect_ms, tls_ms, first_byte_ms,
    response_headers, response_body, response_body_truncated, expunged)
  SELECT id, state, message_id, endpoint_id, owner_id, event_type, number, now(),
    status, duration_ms, started_at, outcome, detail, dns_ms, connect_ms, tls_ms, first_byte_ms,
    CASE WHEN expunged IS NULL THEN headers END,
    CASE WHEN expunged IS NULL THEN substring($19::bytea FROM start FOR length) END,
    CASE WHEN expunged IS NULL THEN nullif(truncated, false) END, expunged
  FROM left_pending
  ORDER BY id
  RETURNING id
), retried AS (
  UPDATE deliveries_pending d
  SET attempts = i.number, claim = NULL, lease_until = NULL,
    due_at = now() + CASE WHEN d.expunged THEN 0 ELSE i.delay_ms END * interval '1 millisecond',
    wake_at = now() + CASE WHEN d.expunged THEN 0 ELSE i.delay_ms END * interval '1 millisecond'
  FROM input i
  WHERE d.id = ANY ($1::uuid[]) AND d.id = i.delivery_id AND d.claim = i.claim AND i.state = 'pending'
  RETURNING d.id, d.expunged
), logged AS (
  INSERT INTO attempts (delivery_id, number, status, duration_ms, started_at, outcome, detail, dns_ms,
    connect_ms, tls_ms, first_byte_ms, response_headers, response_body, response_body_truncated)
  SELECT i.delivery_id, i.number, i.status, i.duration_ms, i.started_at, i.outcome, i.detail,
    i.dns_ms, i.connect_ms, i.tls_ms, i.first_byte_ms,
    CASE WHEN r.expunged IS NULL THEN i.headers END,
    CASE WHEN r.expunged IS NULL THEN substring($19::bytea FROM i.start FOR i.length) END,
    i.truncated AND r.expunged IS NULL
  FROM input i JOIN retried r ON r.id = i.delivery_id
  ON CONFLICT (delivery_id, number) DO NOTHING
)`

// A delivery that is dead is an event, where somebody subscribes to it. Of an event's own deliveries it is
// not: an endpoint that takes nothing would make events without end.
// Only where one is dead: in every statement it would cost 2 to 6 % of each.
const NOTE_EXHAUSTED = `, exhausted AS (
  INSERT INTO operational_events (id, type, owner_id, data)
  SELECT uuidv7(), 'message.exhausted', l.owner_id, json_build_object('about', ${aboutEndpoint('l.endpoint_id')},
    'messageId', l.message_id, 'eventType', l.event_type, 'deliveryId', l.id, 'attempts', l.number,
    'startedAt', l.started_at, 'outcome', l.outcome, 'status', l.status)
  FROM left_pending l
  WHERE l.state = 'dead' AND l.event_type <> ALL ('{${Object.keys(operationalEvents).join()}}'::text[])
    AND ${isSubscribed('l.owner_id', "'message.exhausted'")}
)`

const WRITTEN = `
SELECT id FROM ended UNION ALL SELECT id FROM retried`

/**
 * Writes attempts and the states that follow from them, in one statement and one commit.
 *
 * @returns the ids of the deliveries that were written. One that is missing was claimed by another
 *   worker since (this one was paused past its lease): its POST was a duplicate, its result is not kept.
 */
export async function recordAttempts(pool: Pool, results: readonly AttemptResult[]): Promise<Set<string>> {
  const bodies: Buffer[] = []
  const starts: (number | null)[] = []
  const lengths: (number | null)[] = []
  let start = 1
  for (const { responseBody } of results) {
    starts.push(responseBody ? start : null)
    lengths.push(responseBody ? responseBody.length : null)
    if (responseBody) {
      bodies.push(responseBody)
      start += responseBody.length
    }
  }
  const column = (of: (result: AttemptResult) => string | null) => results.map(of)
  const plain = (of: (result: AttemptResult) => string | number | boolean | null) =>
    plainArray(results.map(of))
  const { rows } = await pool.query<{ id: string }>({
    ...(results.some(({ next }) => next.state === 'dead')
      ? { name: 'record-attempts:exhausted', text: RECORD + NOTE_EXHAUSTED + WRITTEN }
      : { name: 'record-attempts', text: RECORD + WRITTEN }),
    values: [
      plain((result) => result.deliveryId),
      plain((result) => result.claim),
      plain((result) => result.number),
      plain((result) => result.startedAt.toISOString()),
      plain(({ durationMs }) => hundredths(durationMs)),
      column((result) => result.outcome),
      plain((result) => result.status ?? null),
      column((result) => result.detail ?? null),
      plain(({ timings }) => hundredths(timings?.dnsMs)),
      plain(({ timings }) => hundredths(timings?.connectMs)),
      plain(({ timings }) => hundredths(timings?.tlsMs)),
      plain(({ timings }) => hundredths(timings?.firstByteMs)),
      column((result) => result.responseHeaders ?? null),
      plain((result) => result.responseBodyTruncated),
      plain((result) => result.next.state),
      plain((result) => (result.next.state === 'pending' ? Math.round(result.next.delayMs) : null)),
      plainArray(starts),
      plainArray(lengths),
      Buffer.concat(bodies),
    ],
  })
  return new Set(rows.map((row) => row.id))
}

/** A clock's further digits are noise. */
function hundredths(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.round(ms * 100) / 100
}

// Input: $1 delivery ids and $2 their claims, $3 the state
const END = `
WITH left_pending AS (
  DELETE FROM deliveries_pending d USING unnest($1::uuid[], $2::uuid[]) AS held (id, claim)
  WHERE d.id = held.id AND d.claim = held.claim
  RETURNING d.*
)
INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at, expunged)
SELECT id, $3::delivery_state, message_id, endpoint_id, owner_id, event_type, attempts, now(), expunged
FROM left_pending`

/** Ends claimed deliveries without another attempt: their endpoint was deleted or disabled. */
export async function endDeliveries(pool: Pool, held: readonly Held[], state: EndState): Promise<void> {
  await pool.query({
    name: 'end-deliveries',
    text: END,
    values: [held.map(({ id }) => id), held.map(({ claim }) => claim), state],
  })
}

import { lowestId } from '@posthorn/contracts'
import type { PoolClient } from 'pg'
import { isOfMessage, newDeliveryId } from './delivery-ids.ts'
import { KEEP_LAST_ATTEMPT } from './keep-last-attempt.ts'
import type { Pool } from './pool.ts'

/** Which of an endpoint's deliveries; `missing`: messages that it never got. */
export type ReplaySelection = 'dead' | 'skipped' | 'all' | 'missing'

/** What is to be sent again. */
export interface ReplayRequest {
  ownerId: string
  endpointId: string
  /** Accepted at or after, and before. */
  after: Date
  before: Date | null
  selection: ReplaySelection
  /** Empty: all. */
  eventTypes: string[]
}

export interface NewReplay extends ReplayRequest {
  /** UUIDv7. */
  id: string
  idempotencyKey: string | null
  perSecond: number
  /** The same for two requests that ask for the same. */
  digest: string
  total: number
}

export interface ReplayRecord extends ReplayRequest {
  id: string
  idempotencyKey: string | null
  perSecond: number
  /** `paused`: it runs, and its endpoint is disabled. */
  state: 'running' | 'paused' | 'done' | 'cancelled'
  /** How many there were when it was asked for, and how many it made due since. */
  total: number
  released: number
  /** Why the last batch failed; null once one succeeded. */
  error: string | null
  createdAt: Date
  endedAt: Date | null
}

const COLUMNS = `r.id, r.owner_id AS "ownerId", r.endpoint_id AS "endpointId",
  r.idempotency_key AS "idempotencyKey", r."after", r."before", r.selection::text AS selection,
  r.event_types AS "eventTypes", r.per_second AS "perSecond",
  CASE WHEN r.state = 'running' AND e.disabled_at IS NOT NULL THEN 'paused' ELSE r.state::text END AS state,
  r.total, r.released, r.error, r.created_at AS "createdAt", r.ended_at AS "endedAt"`

/** @param scope UUID of the one owner whose replays may be found */
export async function findReplay(pool: Pool, id: string, scope?: string): Promise<ReplayRecord | undefined> {
  const { rows } = await pool.query<ReplayRecord>({
    name: 'find-replay',
    text: `SELECT ${COLUMNS} FROM replays r JOIN endpoints e ON e.id = r.endpoint_id
      WHERE r.id = $1 AND ($2::uuid IS NULL OR r.owner_id = $2)`,
    values: [id, scope ?? null],
  })
  return rows[0]
}

/** The replay of an endpoint that was asked for under this key; failing that, one that covers the same and still runs. */
export async function findSameReplay(
  pool: Pool,
  { endpointId, idempotencyKey, digest }: Pick<NewReplay, 'endpointId' | 'idempotencyKey' | 'digest'>,
): Promise<ReplayRecord | undefined> {
  const { rows } = await pool.query<ReplayRecord>({
    name: 'find-same-replay',
    text: `SELECT ${COLUMNS} FROM replays r JOIN endpoints e ON e.id = r.endpoint_id
      WHERE (r.endpoint_id = $1 AND r.idempotency_key = $2) OR r.running_digest = $3
      ORDER BY coalesce(r.idempotency_key = $2, false) DESC LIMIT 1`,
    values: [endpointId, idempotencyKey, digest],
  })
  return rows[0]
}

/** Newest first. `cursor` is the id of the last replay that was seen. */
export async function listReplays(
  pool: Pool,
  endpointId: string,
  page: { limit: number; cursor?: string },
): Promise<ReplayRecord[]> {
  const { rows } = await pool.query<ReplayRecord>({
    name: 'list-replays',
    text: `SELECT ${COLUMNS} FROM replays r JOIN endpoints e ON e.id = r.endpoint_id
      WHERE r.endpoint_id = $1 AND ($2::uuid IS NULL OR r.id < $2) ORDER BY r.id DESC LIMIT $3`,
    values: [endpointId, page.cursor ?? null, page.limit],
  })
  return rows
}

/**
 * Keys:   (endpoint_id, idempotency_key) and running_digest are unique
 *
 * `resume_at` is cut to milliseconds as its column would round it: up, into a moment that is still to come.
 *
 * @returns false where there is one under the same key, or one that asks for the same and still runs
 */
export async function insertReplay(pool: Pool, replay: NewReplay): Promise<boolean> {
  const { rowCount } = await pool.query({
    name: 'insert-replay',
    text: `INSERT INTO replays (id, owner_id, endpoint_id, idempotency_key, "after", "before", selection,
        event_types, per_second, running_digest, total, position, resume_at)
      VALUES ($1, $2, $3, $4, $5, $6, $7::replay_selection, $8, $9, $10, $11, $12,
        date_trunc('milliseconds', now()))
      ON CONFLICT DO NOTHING`,
    values: [
      replay.id,
      replay.ownerId,
      replay.endpointId,
      replay.idempotencyKey,
      replay.after.toISOString(),
      replay.before?.toISOString() ?? null,
      replay.selection,
      replay.eventTypes,
      replay.perSecond,
      replay.digest,
      replay.total,
      firstPosition(replay),
    ],
  })
  return (rowCount ?? 0) > 0
}

// Locks:   waits for a batch that is being released; none comes after it
const CANCEL = `
UPDATE replays SET state = 'cancelled', ended_at = now(), running_digest = NULL
WHERE id = $1 AND ($2::uuid IS NULL OR owner_id = $2) AND state = 'running'`

/**
 * Releases nothing more. Does nothing to one that has ended.
 *
 * @param scope UUID of the one owner whose replays may be cancelled
 */
export async function cancelReplay(pool: Pool, id: string, scope?: string): Promise<void> {
  await pool.query({ name: 'cancel-replay', text: CANCEL, values: [id, scope ?? null] })
}

/** Ends the replays of endpoints that were deleted. @returns how many */
export async function cancelReplaysOfDeleted(pool: Pool): Promise<number> {
  const { rowCount } = await pool.query({
    name: 'cancel-replays-of-deleted',
    text: `UPDATE replays r SET state = 'cancelled', ended_at = now(), running_digest = NULL
      FROM endpoints e WHERE e.id = r.endpoint_id AND r.state = 'running' AND e.deleted_at IS NOT NULL`,
  })
  return rowCount ?? 0
}

/** A replay that runs, locked by the transaction that took it. */
export interface TakenReplay extends ReplayRequest {
  id: string
  perSecond: number
  position: string
  askedAt: Date
}

const IS_FIRST = `NOT EXISTS (
    SELECT 1 FROM replays o WHERE o.endpoint_id = r.endpoint_id AND o.state = 'running' AND o.id < r.id)`

// Input:   $1 ids of replays to pass over
// Output:  at most one row: a replay whose next batch is due
// Locks:   its row, and its endpoint's, SKIP LOCKED: an endpoint has one batch released at a time,
//          so that one replay sees what another did. Replays of an endpoint go one after another.
const TAKE = `
SELECT r.id, r.owner_id AS "ownerId", r.endpoint_id AS "endpointId", r."after", r."before",
  r.selection::text AS selection, r.event_types AS "eventTypes", r.per_second AS "perSecond", r.position,
  r.created_at AS "askedAt"
FROM replays r JOIN endpoints e ON e.id = r.endpoint_id
WHERE r.state = 'running' AND r.resume_at <= now() AND NOT r.id = ANY ($1::uuid[])
  AND e.disabled_at IS NULL AND e.deleted_at IS NULL AND ${IS_FIRST}
ORDER BY r.resume_at LIMIT 1
FOR NO KEY UPDATE OF r, e SKIP LOCKED`

/** Within a transaction: see `releaseReplayed` and `advanceReplay`. */
export async function takeReplay(
  client: PoolClient,
  passOver: readonly string[],
): Promise<TakenReplay | undefined> {
  const { rows } = await client.query<TakenReplay>({ name: 'take-replay', text: TAKE, values: [passOver] })
  return rows[0]
}

// Both scans:
// Input:   $1 the endpoint, $2 and $3 ids between which to look (neither included), $4 how many rows to
//          look at, $5 event types (none: all), and what is said at each
// Output:  fitting (id), in the order of ids, which is that of time; scanned has what was looked at
//
// What is looked at is bounded, not only what is found: a batch takes as long among a million
// deliveries of which ten are dead.

// $6 states, $7 when the replay was asked for (null: now). What a replay sent again ends after that,
// and is not taken a second time.
const SCAN_ENDED = `
scanned AS MATERIALIZED (
  SELECT d.id, d.state, d.event_type, d.ended_at, d.expunged FROM deliveries_ended d
  WHERE d.endpoint_id = $1 AND d.id > $2 AND d.id < $3
  ORDER BY d.id LIMIT $4
), fitting AS (
  SELECT s.id FROM scanned s
  WHERE s.state = ANY ($6::delivery_state[]) AND s.ended_at <= coalesce($7::timestamptz, now())
    AND s.expunged IS NULL
    AND (cardinality($5::text[]) = 0 OR s.event_type = ANY ($5))
)`

// $6 the owner. LIMIT 1 keeps the look-up of a delivery one by index, message by message.
const SCAN_MISSING = `
scanned AS MATERIALIZED (
  SELECT m.id, m.event_type, m.expunged_at FROM messages m
  WHERE m.owner_id = $6 AND m.id > $2 AND m.id < $3
  ORDER BY m.id LIMIT $4
), fitting AS (
  SELECT s.id FROM scanned s
  JOIN endpoints e ON e.id = $1 AND s.event_type = ANY (e.event_types)
  LEFT JOIN LATERAL (
    SELECT true AS found FROM deliveries d WHERE ${isOfMessage('d', 's.id')} AND d.endpoint_id = $1 LIMIT 1
  ) AS delivery ON true
  WHERE delivery.found IS NULL AND s.expunged_at IS NULL AND (cardinality($5::text[]) = 0 OR s.event_type = ANY ($5))
)`

const SCANNED = `
  (SELECT count(*)::int FROM scanned) AS scanned, (SELECT id FROM scanned ORDER BY id DESC LIMIT 1) AS "lastScanned"`

const COUNT_ENDED = `WITH ${SCAN_ENDED} SELECT (SELECT count(*)::int FROM fitting) AS found, ${SCANNED}`
const COUNT_MISSING = `WITH ${SCAN_MISSING} SELECT (SELECT count(*)::int FROM fitting) AS found, ${SCANNED}`

const ENDED_SLICE = 50_000
const MISSING_SLICE = 5_000

/** How many a replay would release if it was asked for now. */
export async function countReplayable(pool: Pool, request: ReplayRequest): Promise<number> {
  const isMissing = request.selection === 'missing'
  const slice = isMissing ? MISSING_SLICE : ENDED_SLICE
  let position = firstPosition(request)
  for (let count = 0; ; ) {
    const { rows } = await pool.query<{ found: number; scanned: number; lastScanned: string | null }>({
      name: isMissing ? 'count-missing' : 'count-ended',
      text: isMissing ? COUNT_MISSING : COUNT_ENDED,
      values: scanValues(request, position, slice, null),
    })
    const { found, scanned, lastScanned } = rows[0]!
    count += found
    if (scanned < slice || lastScanned === null) return count
    position = lastScanned
  }
}

const RELEASED = `
SELECT ARRAY (SELECT id FROM inserted) AS "deliveryIds", (SELECT count(*)::int FROM found) AS found,
  (SELECT id FROM found ORDER BY id DESC LIMIT 1) AS "lastFound", ${SCANNED}`

// Keys:    a delivery is in exactly one of deliveries_pending and deliveries_ended
// Input:   as SCAN_ENDED, $8 how many to release, $9 milliseconds until the sweep looks at one
// Output:  RELEASED. One that somebody else took out of the log meanwhile is passed over.
const RELEASE_ENDED = `
WITH ${SCAN_ENDED}, found AS MATERIALIZED (
  SELECT id FROM fitting ORDER BY id LIMIT $8
), reopened AS (
  DELETE FROM deliveries_ended d USING found f WHERE d.id = f.id RETURNING d.*
), kept AS (${KEEP_LAST_ATTEMPT}
), inserted AS (
  INSERT INTO deliveries_pending (id, state, message_id, endpoint_id, owner_id, event_type, attempts,
    attempts_before_replay, due_at, wake_at)
  SELECT id, 'pending', message_id, endpoint_id, owner_id, event_type, attempts, attempts,
    date_trunc('milliseconds', now()), now() + $9::int * interval '1 millisecond'
  FROM reopened
  RETURNING id
)${RELEASED}`

// Input:   as SCAN_MISSING, $7 how many to release, $8 milliseconds until the sweep looks at one
// Output:  RELEASED
// Locks:   none here: that nobody else makes the same deliveries is due to the lock of TAKE
const RELEASE_MISSING = `
WITH ${SCAN_MISSING}, found AS MATERIALIZED (
  SELECT id FROM fitting ORDER BY id LIMIT $7
), inserted AS (
  INSERT INTO deliveries_pending (id, state, message_id, endpoint_id, owner_id, event_type, due_at, wake_at)
  SELECT ${newDeliveryId('m.id')}, 'pending', m.id, $1, m.owner_id, m.event_type,
    date_trunc('milliseconds', now()), now() + $8::int * interval '1 millisecond'
  FROM found f JOIN messages m ON m.id = f.id
  RETURNING id
)${RELEASED}`

const ENDED_SCAN_MAX = 10_000
const MISSING_SCAN_MAX = 1_000

export interface ReleasedBatch {
  deliveryIds: string[]
  /** Up to where everything was looked at. */
  position: string
  /** Nothing is left after it. */
  exhausted: boolean
}

/**
 * Makes up to `limit` deliveries of a replay due now, in the order in which they were accepted.
 * In the transaction that took the replay and that goes on to `advanceReplay`.
 */
export async function releaseReplayed(
  client: PoolClient,
  replay: TakenReplay,
  limit: number,
  wakeAfterMs: number,
): Promise<ReleasedBatch> {
  const isMissing = replay.selection === 'missing'
  const scanMax = isMissing ? MISSING_SCAN_MAX : ENDED_SCAN_MAX
  const { rows } = await client.query<{
    deliveryIds: string[]
    found: number
    lastFound: string | null
    scanned: number
    lastScanned: string | null
  }>({
    name: isMissing ? 'release-missing' : 'release-ended',
    text: isMissing ? RELEASE_MISSING : RELEASE_ENDED,
    values: [...scanValues(replay, replay.position, scanMax, replay.askedAt), limit, wakeAfterMs],
  })
  const { deliveryIds, found, lastFound, scanned, lastScanned } = rows[0]!
  // With as many found as were wanted, what comes after the last of them was not released.
  if (found === limit) return { deliveryIds, position: lastFound!, exhausted: false }
  return { deliveryIds, position: lastScanned ?? replay.position, exhausted: scanned < scanMax }
}

// Input:   $1 the replay, $2 position, $3 how many were released, $4 milliseconds until the next batch,
//          $5 whether it is done
const ADVANCE = `
UPDATE replays
SET position = $2, released = released + $3, resume_at = now() + $4::int * interval '1 millisecond', error = NULL,
  state = CASE WHEN $5 THEN 'done' ELSE 'running' END::replay_state,
  ended_at = CASE WHEN $5 THEN now() END,
  running_digest = CASE WHEN $5 THEN NULL ELSE running_digest END
WHERE id = $1`

/** The rest of the transaction: the next batch begins where this one ended, or neither was released. */
export async function advanceReplay(
  client: PoolClient,
  id: string,
  { deliveryIds, position, exhausted }: ReleasedBatch,
  pauseMs: number,
): Promise<void> {
  await client.query({
    name: 'advance-replay',
    text: ADVANCE,
    values: [id, position, deliveryIds.length, pauseMs, exhausted],
  })
}

/** Notes why a batch could not be released; it is tried again after `pauseMs`. */
export async function recordReplayError(
  pool: Pool,
  id: string,
  error: string,
  pauseMs: number,
): Promise<void> {
  await pool.query({
    name: 'record-replay-error',
    text: `UPDATE replays SET error = $2, resume_at = now() + $3::int * interval '1 millisecond'
      WHERE id = $1 AND state = 'running'`,
    values: [id, error, pauseMs],
  })
}

/** Milliseconds until a running replay may release its next batch (0: now), or undefined where none runs. */
export async function nextReplayInMs(pool: Pool): Promise<number | undefined> {
  const { rows } = await pool.query<{ inMs: number | null }>({
    name: 'next-replay',
    text: `SELECT ceil(extract(epoch FROM min(r.resume_at) - now()) * 1000)::float8 AS "inMs"
      FROM replays r JOIN endpoints e ON e.id = r.endpoint_id
      WHERE r.state = 'running' AND e.disabled_at IS NULL AND ${IS_FIRST}`,
  })
  const inMs = rows[0]?.inMs ?? undefined
  return inMs === undefined ? undefined : Math.max(0, inMs)
}

const STATES: Record<Exclude<ReplaySelection, 'missing'>, string[]> = {
  dead: ['dead'],
  skipped: ['skipped'],
  // Cancelled ones have no endpoint or no message any more.
  all: ['delivered', 'dead', 'skipped'],
}

const HIGHEST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

/** The parameters of the scans, $1 to $7 or $6. */
function scanValues(
  request: ReplayRequest,
  position: string,
  scanMax: number,
  askedAt: Date | null,
): unknown[] {
  const { endpointId, before, eventTypes, selection, ownerId } = request
  const until = before === null ? HIGHEST_ID : lowestId(before.getTime())
  const values: unknown[] = [endpointId, position, until, scanMax, eventTypes]
  return selection === 'missing' ? [...values, ownerId] : [...values, STATES[selection], askedAt]
}

/** Lower than every id of the window: `lowestId` is no UUIDv7 itself. */
function firstPosition({ after }: ReplayRequest): string {
  return lowestId(after.getTime())
}

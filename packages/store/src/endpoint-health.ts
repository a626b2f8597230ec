import type { OperationalEventType } from '@posthorn/contracts'
import { aboutEndpoint, isSubscribed } from './operational-events.ts'
import type { Pool } from './pool.ts'

/** The circuit breaker of an endpoint. Times are milliseconds by the database's clock. */
export interface EndpointHealth {
  state: 'closed' | 'open' | 'half_open'
  /** When the state began; null where it was never another. */
  sinceMs: number | null
  /** Why it is not closed. */
  reason: string | null
  /** The first attempt that was not taken since the last one that was. */
  failingSinceMs: number | null
  /** In a row. */
  failures: number
  /** Attempts since a failure, for its rate. */
  windowSinceMs: number | null
  windowAttempts: number
  windowFailures: number
  /** How often it opened in a row, without having been closed. */
  openings: number
  /** Open: when it is probed. Half open: when it is probed again, if nothing is heard of it. */
  probeAtMs: number | null
  /** Half open: how many of its deliveries may be under way, and how many are. */
  releaseLimit: number
  released: number
  /** Half open: UUID of the last delivery of those that waited that may be attempted. */
  releasedThrough: string | null
  /** Half open, and answering: what was accepted after this UUID does not wait behind what waited. */
  freshAfter: string | null
}

export interface LoadedHealth {
  endpointId: string
  nowMs: number
  /** Null where there is no row: the endpoint is healthy. */
  version: string | null
  health: EndpointHealth | null
}

const MS = (column: string) => `(extract(epoch FROM ${column}) * 1000)::float8`
const COLUMNS = `h.state, ${MS('h.since')} AS "sinceMs", h.reason, ${MS('h.failing_since')} AS "failingSinceMs",
  h.failures, ${MS('h.window_since')} AS "windowSinceMs", h.window_attempts AS "windowAttempts",
  h.window_failures AS "windowFailures", h.openings, ${MS('h.probe_at')} AS "probeAtMs",
  h.release_limit AS "releaseLimit", h.released, h.released_through AS "releasedThrough",
  h.fresh_after AS "freshAfter"`

/** One row for each of the endpoints. */
export async function loadEndpointHealth(
  pool: Pool,
  endpointIds: readonly string[],
): Promise<LoadedHealth[]> {
  const { rows } = await pool.query<
    EndpointHealth & { endpointId: string; nowMs: number; version: string | null }
  >({
    name: 'load-endpoint-health',
    text: `SELECT i.id AS "endpointId", ${MS('now()')} AS "nowMs", h.version, ${COLUMNS}
      FROM unnest($1::uuid[]) AS i (id) LEFT JOIN endpoint_health h ON h.endpoint_id = i.id`,
    values: [endpointIds],
  })
  return rows.map(({ endpointId, nowMs, version, ...health }) => ({
    endpointId,
    nowMs,
    version,
    health: version === null ? null : health,
  }))
}

/** A new health in the place of the one that was read. */
export interface HealthChange {
  endpointId: string
  /** As it was read; null where there was no row. */
  expected: string | null
  /** A fresh UUID. */
  version: string
  /** Null: healthy again, nothing to remember. */
  health: EndpointHealth | null
  /** What subscribers are told of it. */
  event?: { type: OperationalEventType; reason: string; sinceMs: number }
}

// Keys:    endpoint_health.endpoint_id
// Input:   $1 JSON array of HealthChange
// Output:  the endpoints whose row was still the one that was read; of two that change it at once one wins
const SAVE = `
WITH input AS MATERIALIZED (
  SELECT i."endpointId" AS endpoint_id, i.expected, i.version, i.health IS NULL AS healthy, i.event, h.*
  FROM json_to_recordset($1::json) AS i ("endpointId" uuid, expected uuid, version uuid, health json, event json)
  LEFT JOIN LATERAL json_to_record(i.health) AS h (state endpoint_health_state, "sinceMs" float8, reason text,
    "failingSinceMs" float8, failures int, "windowSinceMs" float8, "windowAttempts" int, "windowFailures" int,
    openings int, "probeAtMs" float8, "releaseLimit" int, released int, "releasedThrough" uuid,
    "freshAfter" uuid) ON true
), deleted AS (
  DELETE FROM endpoint_health h USING input i
  WHERE h.endpoint_id = i.endpoint_id AND h.version = i.expected AND i.healthy
  RETURNING h.endpoint_id
), updated AS (
  UPDATE endpoint_health h SET version = i.version, state = i.state, since = to_timestamp(i."sinceMs" / 1000),
    reason = i.reason, failing_since = to_timestamp(i."failingSinceMs" / 1000), failures = i.failures,
    window_since = to_timestamp(i."windowSinceMs" / 1000), window_attempts = i."windowAttempts",
    window_failures = i."windowFailures", openings = i.openings, probe_at = to_timestamp(i."probeAtMs" / 1000),
    release_limit = i."releaseLimit", released = i.released, released_through = i."releasedThrough",
    fresh_after = i."freshAfter"
  FROM input i
  WHERE h.endpoint_id = i.endpoint_id AND h.version = i.expected AND NOT i.healthy
  RETURNING h.endpoint_id
), inserted AS (
  INSERT INTO endpoint_health (endpoint_id, version, state, since, reason, failing_since, failures, window_since,
    window_attempts, window_failures, openings, probe_at, release_limit, released, released_through,
    fresh_after)
  SELECT endpoint_id, version, state, to_timestamp("sinceMs" / 1000), reason,
    to_timestamp("failingSinceMs" / 1000), failures, to_timestamp("windowSinceMs" / 1000), "windowAttempts",
    "windowFailures", openings, to_timestamp("probeAtMs" / 1000), "releaseLimit", released, "releasedThrough",
    "freshAfter"
  FROM input WHERE expected IS NULL AND NOT healthy
  ON CONFLICT (endpoint_id) DO NOTHING
  RETURNING endpoint_id
), written AS MATERIALIZED (
  SELECT endpoint_id FROM deleted UNION ALL SELECT endpoint_id FROM updated UNION ALL SELECT endpoint_id FROM inserted
), told AS MATERIALIZED (
  SELECT i.endpoint_id, i.event ->> 'type' AS type, i.event ->> 'reason' AS reason,
    to_timestamp((i.event ->> 'sinceMs')::float8 / 1000) AS since,
    -- Of one that is disabled or deleted, what its last attempts do is no news.
    (SELECT e.owner_id FROM endpoints e
      WHERE e.id = i.endpoint_id AND e.disabled_at IS NULL AND e.deleted_at IS NULL) AS owner_id
  FROM input i WHERE i.event IS NOT NULL AND i.endpoint_id IN (SELECT endpoint_id FROM written)
), noted AS (
  INSERT INTO operational_events (id, type, owner_id, data)
  SELECT uuidv7(), t.type, t.owner_id,
    json_build_object('about', ${aboutEndpoint('t.endpoint_id')}, 'reason', t.reason, 'since', t.since)
  FROM told t WHERE t.owner_id IS NOT NULL AND ${isSubscribed('t.owner_id', 't.type')}
)
SELECT endpoint_id AS id FROM written`

/** @returns the endpoints that were written; what another changed meanwhile has to be read again */
export async function saveEndpointHealth(pool: Pool, changes: readonly HealthChange[]): Promise<Set<string>> {
  const { rows } = await pool.query<{ id: string }>({
    name: 'save-endpoint-health',
    text: SAVE,
    values: [JSON.stringify(changes)],
  })
  return new Set(rows.map(({ id }) => id))
}

// Input:   arrays of $1 endpoints, $2 deliveries that were let go before, $3 up to which (null: any), $4 how
//          many more at most
// Output:  deliveries that are due and that nobody holds, by endpoint in the order of acceptance
const WAITING = `
SELECT w.endpoint_id AS "endpointId", d.id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[]) AS w (endpoint_id, after, through, count)
CROSS JOIN LATERAL (
  SELECT id FROM deliveries_pending p
  WHERE p.endpoint_id = w.endpoint_id AND p.id > w.after AND (w.through IS NULL OR p.id <= w.through)
    AND p.due_at <= now()
    AND (p.lease_until IS NULL OR p.lease_until <= now())
  ORDER BY id LIMIT w.count
) d`

const NIL_UUID = '00000000-0000-0000-0000-000000000000'

/** The next deliveries to let go: see `EndpointHealth.releasedThrough` and `freshAfter`. */
export async function listWaiting(
  pool: Pool,
  wanted: readonly { endpointId: string; after: string | null; through: string | null; count: number }[],
): Promise<{ endpointId: string; id: string }[]> {
  const { rows } = await pool.query<{ endpointId: string; id: string }>({
    name: 'list-waiting',
    text: WAITING,
    values: [
      wanted.map(({ endpointId }) => endpointId),
      wanted.map(({ after }) => after ?? NIL_UUID),
      wanted.map(({ through }) => through),
      wanted.map(({ count }) => count),
    ],
  })
  return rows
}

/** Lets the sweep look at these deliveries again after `wakeAfterMs`: it had no reason to, while they were parked. */
export async function wakeDeliveries(pool: Pool, ids: readonly string[], wakeAfterMs: number): Promise<void> {
  await pool.query({
    name: 'wake-deliveries',
    text: `UPDATE deliveries_pending SET wake_at = now() + $2::int * interval '1 millisecond'
      WHERE id = ANY ($1::uuid[]) AND (lease_until IS NULL OR lease_until <= now())`,
    values: [ids, wakeAfterMs],
  })
}

// Output:  endpoints to be probed: their time has come and something waits for them
const TO_PROBE = `
SELECT h.endpoint_id AS id FROM endpoint_health h
WHERE h.state <> 'closed' AND h.probe_at <= now() AND EXISTS (
  SELECT FROM deliveries_pending p
  WHERE p.endpoint_id = h.endpoint_id AND p.due_at <= now()
    AND (p.lease_until IS NULL OR p.lease_until <= now()))
ORDER BY h.probe_at LIMIT $1`

export async function listEndpointsToProbe(pool: Pool, limit: number): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>({
    name: 'list-endpoints-to-probe',
    text: TO_PROBE,
    values: [limit],
  })
  return rows.map(({ id }) => id)
}

// Input:   $1 how many at most
// Output:  one row a delivery
// What a claim parked while the endpoint was being closed missed the last release. A parked delivery is
// known by being due long before the sweep looks at it.
const WAKE_LEFT_BEHIND = `
WITH left_behind AS (
  SELECT p.id FROM endpoint_health h
  JOIN deliveries_pending p ON p.endpoint_id = h.endpoint_id
  WHERE h.state = 'closed' AND h.since > now() - interval '1 minute'
    AND p.due_at <= now() AND p.wake_at > now() + interval '1 minute'
    AND (p.lease_until IS NULL OR p.lease_until <= now())
  ORDER BY p.id LIMIT $1
  FOR UPDATE OF p SKIP LOCKED
)
UPDATE deliveries_pending d SET wake_at = now() FROM left_behind WHERE d.id = left_behind.id`

/** Makes the sweep find what was parked at an endpoint in the moment that it recovered. */
export async function wakeLeftBehind(pool: Pool, limit: number): Promise<number> {
  const { rowCount } = await pool.query({
    name: 'wake-left-behind',
    text: WAKE_LEFT_BEHIND,
    values: [limit],
  })
  return rowCount ?? 0
}

// Input:   $1 the endpoint
// What is parked (it is due long before the sweep looks at it) becomes due now.
export const RESET_HEALTH = `
WITH forgotten AS (
  DELETE FROM endpoint_health WHERE endpoint_id = $1::uuid
)
UPDATE deliveries_pending
SET due_at = least(due_at, date_trunc('milliseconds', now())), wake_at = now()
WHERE endpoint_id = $1::uuid AND wake_at > due_at + interval '1 minute'
  AND (lease_until IS NULL OR lease_until <= now())`

/** Forgets what was wrong with an endpoint, and lets go what waits for it. */
export async function resetEndpointHealth(pool: Pool, endpointId: string): Promise<void> {
  await pool.query({ name: 'reset-endpoint-health', text: RESET_HEALTH, values: [endpointId] })
}

// Input:   $1 the endpoint, $2 how many at most
// Output:  one row a delivery
// Locks:   SKIP LOCKED: what a worker holds ends by itself
const SKIP = `
WITH waiting AS (
  SELECT p.id FROM deliveries_pending p
  WHERE p.endpoint_id = $1 AND (p.lease_until IS NULL OR p.lease_until <= now())
    AND EXISTS (SELECT FROM endpoints e WHERE e.id = $1 AND e.disabled_at IS NOT NULL)
  ORDER BY p.id LIMIT $2
  FOR UPDATE SKIP LOCKED
), left_pending AS (
  DELETE FROM deliveries_pending d USING waiting WHERE d.id = waiting.id RETURNING d.*
)
INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at)
SELECT id, 'skipped', message_id, endpoint_id, owner_id, event_type, attempts, now() FROM left_pending`

/** Ends what waits for a disabled endpoint as `skipped`; @returns how many there were, at most `limit` */
export async function skipWaiting(pool: Pool, endpointId: string, limit: number): Promise<number> {
  const { rowCount } = await pool.query({
    name: 'skip-waiting',
    text: SKIP,
    values: [endpointId, limit],
  })
  return rowCount ?? 0
}

/** @returns how many deliveries of the endpoint are pending, counted up to `countMax` */
export async function countPending(pool: Pool, endpointId: string, countMax: number): Promise<number> {
  const { rows } = await pool.query<{ count: number }>({
    name: 'count-pending',
    text: `SELECT count(*)::int FROM (SELECT FROM deliveries_pending WHERE endpoint_id = $1 LIMIT $2) AS p`,
    values: [endpointId, countMax],
  })
  return rows[0]!.count
}

import { ensurePartitions, newDeliveryId } from '@posthorn/store'
import type pg from 'pg'

/** Whose log it is: endpoints with their owners. */
export interface LogEndpoint {
  id: string
  ownerId: string
}

export interface LogOptions {
  deliveries: number
  /** Share them evenly, but for one delivery in 1,000. */
  endpoints: readonly LogEndpoint[]
  /** Has that one. */
  smallEndpoint: LogEndpoint
  eventType: string
  /** Of one message in 10,000. */
  rareEventType: string
}

const DAY_MS = 86_400_000
const DAYS = 7
/** Ends before anything that is measured beside it. */
const SECONDS_BEFORE_NOW = 600
const BATCH = 100_000

// Input:   $1 and $2 the first and last number, $3 how many there will be, $4 endpoints and $5 their owners,
//          $6 and $7 the small endpoint and its owner, $8 and $9 event types, $10 and $11 seconds before now
//          at which the log begins and ends
// Output:  what the API and workers would have left of them: 97 of 100 delivered by their first attempt, and one
//          each that is dead after ten, cancelled and skipped without any
const GROW = `
WITH numbered AS MATERIALIZED (
  SELECT n, ago, message_id, ${newDeliveryId('message_id')} AS delivery_id,
    CASE WHEN n % 1000 = 500 THEN $6::uuid ELSE ($4::uuid[])[1 + n % cardinality($4::uuid[])] END AS endpoint_id,
    CASE WHEN n % 1000 = 500 THEN $7::uuid ELSE ($5::uuid[])[1 + n % cardinality($5::uuid[])] END AS owner_id,
    CASE WHEN n % 10000 = 5001 THEN $9::text ELSE $8::text END AS event_type,
    CASE n / 7 % 100 WHEN 0 THEN 'dead' WHEN 1 THEN 'cancelled' WHEN 2 THEN 'skipped' ELSE 'delivered'
      END::delivery_state AS state
  FROM generate_series($1::bigint, $2::bigint) AS n,
    LATERAL (SELECT make_interval(secs => -($10::float8 + ($11::float8 - $10::float8) * n / $3::float8)) AS ago) AS o,
    LATERAL (SELECT uuidv7(ago) AS message_id) AS m
), new_messages AS (
  INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
  SELECT message_id, owner_id, event_type, now() + ago, 1,
    convert_to('{"type":"' || event_type || '","data":{}}', 'UTF8')
  FROM numbered
), new_deliveries AS (
  INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at,
    status, duration_ms, started_at, outcome)
  SELECT delivery_id, state, message_id, endpoint_id, owner_id, event_type,
    CASE state WHEN 'delivered' THEN 1 WHEN 'dead' THEN 10 ELSE 0 END, now() + ago,
    CASE state WHEN 'delivered' THEN 204 WHEN 'dead' THEN 500 END,
    CASE WHEN state IN ('delivered', 'dead') THEN 12 END,
    CASE WHEN state IN ('delivered', 'dead') THEN now() + ago END,
    CASE state WHEN 'delivered' THEN 'delivered' WHEN 'dead' THEN 'rejected' END
  FROM numbered
)
INSERT INTO attempts (delivery_id, number, status, duration_ms, started_at, outcome)
SELECT delivery_id, a.number, 500, 12, now() + ago, 'rejected'
FROM numbered CROSS JOIN generate_series(1, 9) AS a (number)
WHERE state = 'dead'`

/** Writes a log of the last days by SQL, into all the indexes that it has. */
export async function growLog(client: pg.Client, options: LogOptions): Promise<void> {
  const { deliveries, endpoints, smallEndpoint, eventType, rareEventType } = options
  // Each call makes the days around the one that it is given.
  await ensurePartitions(client, new Date(Date.now() - (DAYS - 2) * DAY_MS))
  for (let first = 1; first <= deliveries; first += BATCH) {
    await client.query(GROW, [
      ...[first, Math.min(first + BATCH - 1, deliveries), deliveries],
      ...[endpoints.map(({ id }) => id), endpoints.map(({ ownerId }) => ownerId)],
      ...[smallEndpoint.id, smallEndpoint.ownerId, eventType, rareEventType],
      ...[((DAYS - 0.5) * DAY_MS) / 1_000, SECONDS_BEFORE_NOW],
    ])
  }
  // As autovacuum leaves a log that grew in days; and what is flushed is not flushed while something is measured.
  await client.query('VACUUM (ANALYZE)')
  await client.query('CHECKPOINT')
}

import type { Held } from './claim-deliveries.ts'
import type { Pool } from './pool.ts'

/** A claimed delivery that wants a slot of its endpoint's rate. */
export interface WantedSlot extends Held {
  endpointId: string
  /** Slots a second. */
  rateLimit: number
}

/** How long until the slot that was reserved; undefined: the delivery was parked, and is held no more. */
export type ReservedSlot = { delayMs: number } | undefined

/** A parked delivery is let go by `releasePaced`. The sweep finds it, where that did not happen. */
const PARKED_FOR = `interval '15 minutes'`
/** As `reset-endpoint-health` knows what is parked, too. */
const IS_PARKED = `p.wake_at > p.due_at + interval '1 minute'`

// Keys:    endpoint_pace.endpoint_id
// Input:   arrays of $1 deliveries, $2 their claims, $3 their endpoints, $4 slots a second;
//          $5 milliseconds that may be waited for a slot
// Output:  one row a delivery; granted is null where the endpoint has no row yet
// Locks:   the rows of the endpoints, in one order; clocks are read once they are held
// Slots:   are evenly spaced and given in the order of acceptance. While others are parked, what was accepted
//          after the last that was let go is parked behind them
// Parks:   what has no slot within $5: due about when it will have one, and out of the sweep's sight
const RESERVE = `
WITH input AS MATERIALIZED (
  SELECT i.id, i.claim, i.endpoint_id, interval '1 second' / i.rate AS step
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[]) AS i (id, claim, endpoint_id, rate)
), locked AS MATERIALIZED (
  SELECT * FROM endpoint_pace WHERE endpoint_id = ANY ($3::uuid[]) ORDER BY endpoint_id FOR UPDATE
), known AS MATERIALIZED (
  SELECT *, clock_timestamp() AS at FROM locked
), ordered AS MATERIALIZED (
  SELECT i.*, k.at, k.parked_until, greatest(k.next_at, k.at) AS first_at, t.in_turn,
    row_number() OVER (PARTITION BY i.endpoint_id, t.in_turn ORDER BY i.id) - 1 AS before
  FROM input i JOIN known k USING (endpoint_id)
  CROSS JOIN LATERAL (SELECT k.parked_until IS NULL OR i.id <= k.released_through AS in_turn) AS t
), slots AS MATERIALIZED (
  SELECT *, first_at + before * step AS slot_at,
    in_turn AND first_at + before * step <= at + $5::int * interval '1 millisecond' AS granted
  FROM ordered
), totals AS MATERIALIZED (
  SELECT endpoint_id, max(at) AS at, max(step) AS step, count(*) FILTER (WHERE NOT granted) AS parked,
    max(slot_at) FILTER (WHERE granted) + max(step) AS next_at,
    greatest(max(first_at), max(parked_until), max(slot_at) FILTER (WHERE granted) + max(step)) AS tail,
    (array_agg(id ORDER BY id DESC) FILTER (WHERE granted))[1] AS last
  FROM slots GROUP BY endpoint_id
), moved AS (
  UPDATE endpoint_pace p
  SET next_at = coalesce(t.next_at, p.next_at),
    (parked_until, release_at, released_through) = (
      SELECT CASE WHEN t.parked = 0 THEN p.parked_until ELSE t.tail + t.parked * t.step END,
        CASE WHEN t.parked = 0 OR p.parked_until IS NOT NULL THEN p.release_at
          ELSE coalesce(t.next_at, p.next_at) - interval '500 milliseconds' END,
        CASE WHEN t.parked = 0 THEN p.released_through
          ELSE coalesce(greatest(p.released_through, t.last), '00000000-0000-0000-0000-000000000000') END)
  FROM totals t WHERE p.endpoint_id = t.endpoint_id
), held_back AS (
  UPDATE deliveries_pending d
  SET claim = NULL, lease_until = NULL, due_at = w.due_at, wake_at = w.due_at + ${PARKED_FOR}
  FROM (
    SELECT s.id, s.claim, least(t.at + interval '1 day',
      t.tail + row_number() OVER (PARTITION BY s.endpoint_id ORDER BY s.id) * s.step) AS due_at
    FROM slots s JOIN totals t USING (endpoint_id) WHERE NOT s.granted
  ) AS w
  WHERE d.id = w.id AND d.claim = w.claim
)
SELECT i.id, i.claim, s.granted, greatest(0, extract(epoch FROM s.slot_at - s.at) * 1000)::float8 AS "delayMs"
FROM input i LEFT JOIN slots s USING (id, claim)`

/**
 * Reserves for each of these deliveries the next slot of its endpoint, where that comes within `withinMs`,
 * and parks the others without using up an attempt. A slot that is not used is lost.
 *
 * @returns one answer a delivery, in order
 */
export async function reserveSlots(
  pool: Pool,
  wanted: readonly WantedSlot[],
  withinMs: number,
): Promise<ReservedSlot[]> {
  const { rows } = await pool.query<Held & { granted: boolean | null; delayMs: number }>({
    name: 'reserve-slots',
    text: RESERVE,
    values: [
      wanted.map(({ id }) => id),
      wanted.map(({ claim }) => claim),
      wanted.map(({ endpointId }) => endpointId),
      wanted.map(({ rateLimit }) => rateLimit),
      Math.round(withinMs),
    ],
  })
  const rowOf = new Map(rows.map((row) => [row.id + row.claim, row]))
  const reserved: ReservedSlot[] = wanted.map(({ id, claim }) => {
    const row = rowOf.get(id + claim)!
    return row.granted ? { delayMs: row.delayMs } : undefined
  })
  const isNew = ({ id, claim }: WantedSlot) => rowOf.get(id + claim)!.granted === null
  const ofNew = wanted.filter(isNew)
  if (ofNew.length === 0) return reserved
  await pool.query({
    name: 'begin-pace',
    text: `INSERT INTO endpoint_pace (endpoint_id) SELECT DISTINCT i FROM unnest($1::uuid[]) AS i ORDER BY i
      ON CONFLICT DO NOTHING`,
    values: [ofNew.map(({ endpointId }) => endpointId)],
  })
  const more = await reserveSlots(pool, ofNew, withinMs)
  return wanted.map((slot, at) => (isNew(slot) ? more.shift() : reserved[at]))
}

// Input:   $1 how many endpoints at most, $2 how many deliveries of each, $3 milliseconds until the sweep looks at them
// Output:  ids that are due now, by endpoint in the order of acceptance
// Locks:   SKIP LOCKED: of several that release, one has an endpoint
// Ahead:   half a second of slots at a time, so that they are claimed again when their slots come
//
// Without its limit, or disabled or deleted, an endpoint holds nothing back. One whose breaker is open does,
// and its recovery is what lets go.
const RELEASE = `
WITH locked AS MATERIALIZED (
  SELECT p.endpoint_id, p.xmin AS version,
    CASE WHEN e.disabled_at IS NULL AND e.deleted_at IS NULL THEN e.rate_limit END AS rate
  FROM endpoint_pace p JOIN endpoints e ON e.id = p.endpoint_id
  WHERE p.parked_until IS NOT NULL
    AND (e.rate_limit IS NULL OR p.release_at <= now() AND p.next_at <= now() + interval '1 second')
    AND NOT EXISTS (SELECT FROM endpoint_health h WHERE h.endpoint_id = p.endpoint_id AND h.state = 'open')
  ORDER BY p.release_at LIMIT $1
  FOR UPDATE OF p SKIP LOCKED
), wanted AS MATERIALIZED (
  SELECT l.endpoint_id, l.rate, least($2::int, coalesce(ceil(l.rate / 2.0), $2::int))::int AS count,
    -- What was parked since this statement began is not seen by it.
    l.version = (SELECT s.xmin FROM endpoint_pace s WHERE s.endpoint_id = l.endpoint_id) AS sees_all
  FROM locked l
), found AS MATERIALIZED (
  SELECT w.endpoint_id, d.id FROM wanted w CROSS JOIN LATERAL (
    SELECT p.id FROM deliveries_pending p
    WHERE p.endpoint_id = w.endpoint_id AND ${IS_PARKED} AND (p.lease_until IS NULL OR p.lease_until <= now())
    ORDER BY p.id LIMIT w.count
  ) d
), totals AS MATERIALIZED (
  SELECT w.endpoint_id, w.rate, w.count, w.sees_all, count(f.id) AS found,
    (array_agg(f.id ORDER BY f.id DESC))[1] AS last
  FROM wanted w LEFT JOIN found f USING (endpoint_id) GROUP BY 1, 2, 3, 4
), moved AS (
  UPDATE endpoint_pace p
  SET release_at = CASE WHEN t.rate IS NULL THEN p.release_at
      ELSE greatest(p.release_at, now() - interval '1 second') + t.count * interval '1 second' / t.rate END,
    released_through = greatest(p.released_through, t.last),
    parked_until = CASE WHEN t.found = t.count OR NOT t.sees_all THEN p.parked_until END
  FROM totals t WHERE p.endpoint_id = t.endpoint_id
)
UPDATE deliveries_pending d
SET due_at = least(d.due_at, date_trunc('milliseconds', now())), wake_at = now() + $3::int * interval '1 millisecond'
FROM found f WHERE d.id = f.id AND (d.lease_until IS NULL OR d.lease_until <= now())
RETURNING d.id`

/** Makes due what is parked for rate-limited endpoints and has its slot soon, at most `perEndpoint` of each. */
export async function releasePaced(
  pool: Pool,
  { endpoints, perEndpoint, wakeAfterMs }: { endpoints: number; perEndpoint: number; wakeAfterMs: number },
): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>({
    name: 'release-paced',
    text: RELEASE,
    values: [endpoints, perEndpoint, wakeAfterMs],
  })
  return rows.map(({ id }) => id).sort()
}

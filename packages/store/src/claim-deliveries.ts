import type { EndpointHealth } from './endpoint-health.ts'
import { type Pool, plainArray } from './pool.ts'

/** A delivery that this worker holds until its lease runs out. */
export interface ClaimedDelivery {
  id: string
  messageId: string
  endpointId: string
  /** Attempts recorded so far. */
  attempts: number
  /** Those of them that the retry schedule does not count. */
  attemptsBeforeReplay: number
  /** Changes with every change of the endpoint's row: tells whether a copy of it is still true. */
  endpointVersion: string | null
  /** Null where the message is no longer stored, or was expunged. Deliveries of one message share one Buffer. */
  payload: Buffer | null
  /** The state of the endpoint's circuit breaker; null: nothing is wrong with it. */
  health: EndpointHealth['state'] | null
}

/** A parked delivery is let go by its endpoint's recovery. The sweep finds it, where that did not happen. */
const PARKED_FOR = `interval '15 minutes'`

// Input:   $1 delivery ids (or how many at most: CLAIM_DUE), $2 the claim, $3 the lease in milliseconds
// Output:  one row a delivery that was due and that nobody else held; a payload travels once a message
// Again:   under the same claim CLAIM finds the same deliveries: the answer may have been lost
// Locks:   the rows claimed; another worker's claim of the same rows waits and then finds them held
// Parks:   what its endpoint's breaker does not let through (packages/dispatch/src/endpoint-health.ts):
//          not claimed, and out of the sweep's sight until it is let go, or long after it should have been
//
// No index has the columns that change on a healthy way: setting wake_at to what it is keeps the row on its page.
const claimOf = (chosen: string, ids: string) => `
WITH ${chosen} touched AS (
  UPDATE deliveries_pending d
  SET (claim, lease_until, due_at, wake_at) = (
    SELECT CASE WHEN h.endpoint_id IS NULL THEN $2::uuid END,
      CASE WHEN h.endpoint_id IS NULL THEN now() + $3::int * interval '1 millisecond' END,
      CASE WHEN h.state = 'open' THEN greatest(d.due_at, h.probe_at) ELSE d.due_at END,
      CASE WHEN h.endpoint_id IS NULL THEN d.wake_at ELSE greatest(now(), h.probe_at) + ${PARKED_FOR} END
    FROM (SELECT) AS one LEFT JOIN endpoint_health h ON h.endpoint_id = d.endpoint_id AND (
      h.state = 'open' OR h.state = 'half_open' AND
      (d.id = h.released_through OR h.release_limit > 1 AND d.id < h.released_through OR d.id > h.fresh_after)
        IS NOT TRUE))
  WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    AND d.id = ANY (${ids}) AND d.due_at <= now()
    AND (d.lease_until IS NULL OR d.lease_until <= now() OR d.claim = $2)
  RETURNING d.id, d.message_id, d.endpoint_id, d.attempts, d.attempts_before_replay, d.claim
), numbered AS (
  SELECT *, row_number() OVER (PARTITION BY message_id) AS n FROM touched WHERE claim IS NOT NULL
)
SELECT c.id, c.message_id AS "messageId", c.endpoint_id AS "endpointId", c.attempts,
  c.attempts_before_replay AS "attemptsBeforeReplay",
  (SELECT e.xmin::text FROM endpoints e WHERE e.id = c.endpoint_id) AS "endpointVersion",
  CASE WHEN c.n = 1 THEN (SELECT m.payload FROM messages m WHERE m.id = c.message_id AND m.expunged_at IS NULL) END AS payload,
  (SELECT h.state FROM endpoint_health h WHERE h.endpoint_id = c.endpoint_id) AS health
FROM numbered c`

const CLAIM = claimOf('', '(SELECT $1::uuid[])::uuid[]')

// As the sweep chooses, and shared between workers as there; what the claim would not take is left to it.
const CLAIM_DUE = claimOf(
  `due AS (
  SELECT id FROM deliveries_pending
  WHERE wake_at <= now() AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
  ORDER BY wake_at LIMIT $1
  FOR UPDATE SKIP LOCKED
),`,
  'ARRAY(SELECT id FROM due)',
)

/**
 * Takes those of `ids` that are due and not held, for `leaseMs`.
 * Results are accepted only under `claim` (a fresh UUID for each call).
 */
export async function claimDeliveries(
  pool: Pool,
  ids: readonly string[],
  claim: string,
  leaseMs: number,
): Promise<ClaimedDelivery[]> {
  const { rows } = await pool.query<ClaimedDelivery>({
    name: 'claim-deliveries',
    text: CLAIM,
    values: [plainArray(ids), claim, leaseMs],
  })
  return withPayloads(rows)
}

/**
 * Takes up to `limit` of what is due and in no worker's hands, longest due first, for `leaseMs`. For a backlog:
 * one write less than to take them from the sweep and to claim them by their job.
 */
export async function claimDue(
  pool: Pool,
  limit: number,
  claim: string,
  leaseMs: number,
): Promise<ClaimedDelivery[]> {
  const { rows } = await pool.query<ClaimedDelivery>({
    name: 'claim-due',
    text: CLAIM_DUE,
    values: [limit, claim, leaseMs],
  })
  return withPayloads(rows)
}

function withPayloads(rows: ClaimedDelivery[]): ClaimedDelivery[] {
  const payloads = new Map<string, Buffer | null>()
  for (const row of rows) if (row.payload !== null) payloads.set(row.messageId, row.payload)
  for (const row of rows) row.payload = payloads.get(row.messageId) ?? null
  return rows
}

/** A delivery under the claim that holds it. */
export interface Held {
  id: string
  claim: string
}

// Input: $1 delivery ids, $2 their claims, $3 milliseconds until each is due again
const RELEASE = `
UPDATE deliveries_pending d
SET claim = NULL, lease_until = NULL,
  due_at = date_trunc('milliseconds', now()) + held.delay_ms * interval '1 millisecond',
  wake_at = now() + held.delay_ms * interval '1 millisecond'
FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS held (id, claim, delay_ms)
WHERE d.id = held.id AND d.claim = held.claim`

/** Gives claimed deliveries back without using up an attempt; each is due again after its `delayMs`. */
export async function releaseDeliveries(
  pool: Pool,
  held: readonly (Held & { delayMs: number })[],
): Promise<void> {
  await pool.query({
    name: 'release-deliveries',
    text: RELEASE,
    values: [
      held.map(({ id }) => id),
      held.map(({ claim }) => claim),
      held.map(({ delayMs }) => Math.round(delayMs)),
    ],
  })
}

// Input:   $1 delivery ids, $2 their claims, $3 their endpoints
const PARK = `
UPDATE deliveries_pending d
SET claim = NULL, lease_until = NULL,
  due_at = CASE WHEN h.state = 'open' THEN greatest(d.due_at, h.probe_at) ELSE d.due_at END,
  wake_at = CASE WHEN h.state <> 'closed' THEN greatest(now(), h.probe_at) + ${PARKED_FOR} ELSE now() END
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS held (id, claim, endpoint_id)
LEFT JOIN endpoint_health h ON h.endpoint_id = held.endpoint_id
WHERE d.id = held.id AND d.claim = held.claim`

/** Gives claimed deliveries back, as a claim would have parked them by now. */
export async function parkDeliveries(
  pool: Pool,
  held: readonly (Held & { endpointId: string })[],
): Promise<void> {
  await pool.query({
    name: 'park-deliveries',
    text: PARK,
    values: [
      held.map(({ id }) => id),
      held.map(({ claim }) => claim),
      held.map(({ endpointId }) => endpointId),
    ],
  })
}

// Input:   $1 how many at most, $2 milliseconds until the sweep may look at them again
// Output:  ids with their owners
// Locks:   SKIP LOCKED, so that sweepers share the work instead of repeating it
const SWEEP = `
WITH due AS (
  SELECT id FROM deliveries_pending
  WHERE wake_at <= now() AND (lease_until IS NULL OR lease_until <= now())
  ORDER BY wake_at LIMIT $1
  FOR UPDATE SKIP LOCKED
)
UPDATE deliveries_pending d SET wake_at = now() + $2::int * interval '1 millisecond'
FROM due WHERE d.id = due.id
RETURNING d.id, d.owner_id AS "ownerId"`

/** Deliveries that are due and in no worker's hands; marked so that the next sweep passes them over for `wakeAfterMs`. */
export async function takeDue(
  pool: Pool,
  limit: number,
  wakeAfterMs: number,
): Promise<{ id: string; ownerId: string }[]> {
  const { rows } = await pool.query<{ id: string; ownerId: string }>({
    name: 'take-due',
    text: SWEEP,
    values: [limit, wakeAfterMs],
  })
  return rows
}

import type { Pool } from './pool.ts'

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
  /** Null where the message is no longer stored. Deliveries of one message share one Buffer. */
  payload: Buffer | null
}

// Input:   $1 delivery ids, $2 the claim, $3 the lease in milliseconds
// Output:  one row a delivery that was due and that nobody else held; a payload travels once a message
// Again:   under the same claim it finds the same deliveries: the answer may have been lost
// Locks:   the rows claimed; another worker's claim of the same rows waits and then finds them held
const CLAIM = `
WITH claimed AS (
  UPDATE deliveries_pending
  SET claim = $2, lease_until = now() + $3::int * interval '1 millisecond'
  WHERE id = ANY ($1::uuid[]) AND due_at <= now()
    AND (lease_until IS NULL OR lease_until <= now() OR claim = $2)
  RETURNING id, message_id, endpoint_id, attempts, attempts_before_replay
), numbered AS (
  SELECT *, row_number() OVER (PARTITION BY message_id) AS n FROM claimed
)
SELECT c.id, c.message_id AS "messageId", c.endpoint_id AS "endpointId", c.attempts,
  c.attempts_before_replay AS "attemptsBeforeReplay",
  (SELECT e.xmin::text FROM endpoints e WHERE e.id = c.endpoint_id) AS "endpointVersion",
  CASE WHEN c.n = 1 THEN (SELECT m.payload FROM messages m WHERE m.id = c.message_id) END AS payload
FROM numbered c`

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
    values: [ids, claim, leaseMs],
  })
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

// Input: $1 delivery ids and $2 their claims, $3 milliseconds until they are due again
const RELEASE = `
UPDATE deliveries_pending d
SET claim = NULL, lease_until = NULL,
  due_at = date_trunc('milliseconds', now()) + $3::int * interval '1 millisecond',
  wake_at = now() + $3::int * interval '1 millisecond'
FROM unnest($1::uuid[], $2::uuid[]) AS held (id, claim)
WHERE d.id = held.id AND d.claim = held.claim`

/** Gives claimed deliveries back without using up an attempt; they are due again after `delayMs`. */
export async function releaseDeliveries(pool: Pool, held: readonly Held[], delayMs: number): Promise<void> {
  await pool.query({
    name: 'release-deliveries',
    text: RELEASE,
    values: [held.map(({ id }) => id), held.map(({ claim }) => claim), Math.round(delayMs)],
  })
}

// Input:   $1 how many at most, $2 milliseconds until the sweep may look at them again
// Output:  ids, earliest first
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
RETURNING d.id`

/** Deliveries that are due and in no worker's hands; marked so that the next sweep passes them over for `wakeAfterMs`. */
export async function takeDue(pool: Pool, limit: number, wakeAfterMs: number): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>({
    name: 'take-due',
    text: SWEEP,
    values: [limit, wakeAfterMs],
  })
  return rows.map((row) => row.id)
}

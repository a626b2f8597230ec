import { lowestId } from '@posthorn/contracts'
import type { PoolClient } from 'pg'
import { isTransient } from './database-errors.ts'
import { isOfMessage } from './delivery-ids.ts'
import type { Pool } from './pool.ts'

/** Whose messages: of one owner, those accepted before a time, or both. */
export interface ExpungeScope {
  ownerId?: string
  before?: Date
}

export interface Expunged {
  /** Messages whose payload is gone since this call. */
  messages: number
  /** Deliveries that waited for an attempt and have nothing to send any more. */
  cancelled: number
}

// Input:   $1 messages
// Output:  those that had a payload
// Locks:   in the order of ids, so that two of these wait for each other in turn
const TAKE_PAYLOADS = `
UPDATE messages m SET payload = '', expunged_at = date_trunc('milliseconds', now())
FROM (
  SELECT id FROM messages WHERE id = ANY ($1::uuid[]) AND expunged_at IS NULL ORDER BY id FOR UPDATE
) AS l
WHERE m.id = l.id AND m.id = ANY ($1::uuid[])
RETURNING m.id`

// $1 messages. OFFSET keeps it a loop over messages, each with a range of the primary key: the planner does not
// know how few ids such a range has, and would rather read the whole log once.
const idsOfDeliveries = (table: string) => `
SELECT d.id FROM unnest($1::uuid[]) AS m (id)
CROSS JOIN LATERAL (SELECT t.id FROM ${table} t WHERE ${isOfMessage('t', 'm.id')} OFFSET 0) AS d`

// Input:   $1 messages
// Output:  how many of their deliveries ended
// Held:    by a worker that has the payload in its memory: its attempt is made and recorded, and
//          packages/store/src/record-attempts.ts sees by the mark that nothing of the answer is to be kept
const CANCEL_PENDING = `
WITH found AS MATERIALIZED (${idsOfDeliveries('deliveries_pending')}
), freed AS (
  DELETE FROM deliveries_pending
  WHERE id = ANY (ARRAY (SELECT id FROM found)) AND (lease_until IS NULL OR lease_until <= now())
  RETURNING *
), ended AS (
  INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at, expunged)
  SELECT id, 'cancelled', message_id, endpoint_id, owner_id, event_type, attempts, now(), true FROM freed
), held AS (
  UPDATE deliveries_pending SET expunged = true
  WHERE id = ANY (ARRAY (SELECT id FROM found)) AND lease_until > now() AND expunged IS NULL
)
SELECT count(*)::int AS count FROM freed`

const FIND_DELIVERIES = idsOfDeliveries('deliveries')

// Input: $1 deliveries, for both. Headers too: a receiver may put what it got anywhere into its answer.
const EXPUNGE_ENDED = `
UPDATE deliveries_ended
SET expunged = true, response_headers = NULL, response_body = NULL, response_body_truncated = NULL
WHERE id = ANY ($1::uuid[])`

const EXPUNGE_ATTEMPTS = `
UPDATE attempts SET response_headers = NULL, response_body = NULL, response_body_truncated = false
WHERE delivery_id = ANY ($1::uuid[]) AND (response_headers IS NOT NULL OR response_body IS NOT NULL)`

/** Takes away what receivers answered to these deliveries, wherever it is kept, and marks them. */
async function expungeAnswers(client: PoolClient, deliveryIds: string[]): Promise<void> {
  await client.query({ name: 'expunge-ended', text: EXPUNGE_ENDED, values: [deliveryIds] })
  await client.query({ name: 'expunge-attempts', text: EXPUNGE_ATTEMPTS, values: [deliveryIds] })
}

/** In a transaction. Each statement sees what others committed before it, so that nothing slips by between two. */
async function expungeMessages(client: PoolClient, ids: string[]): Promise<Expunged> {
  const { rows: taken } = await client.query<{ id: string }>({
    name: 'take-payloads',
    text: TAKE_PAYLOADS,
    values: [ids],
  })
  const messageIds = taken.map(({ id }) => id)
  if (messageIds.length === 0) return { messages: 0, cancelled: 0 }
  const cancelPending = async () => {
    const { rows } = await client.query<{ count: number }>({
      name: 'cancel-expunged',
      text: CANCEL_PENDING,
      values: [messageIds],
    })
    return rows[0]!.count
  }
  const cancelled = await cancelPending()
  const { rows: deliveries } = await client.query<{ id: string }>({
    name: 'find-expunged-deliveries',
    text: FIND_DELIVERIES,
    values: [messageIds],
  })
  await expungeAnswers(
    client,
    deliveries.map(({ id }) => id),
  )
  // What somebody opened again while its row was waited for.
  return { messages: messageIds.length, cancelled: cancelled + (await cancelPending()) }
}

const TRIES_MAX = 5

async function inTransaction(pool: Pool, ids: string[]): Promise<Expunged> {
  for (let tries = 1; ; tries++) {
    const client = await pool.connect()
    let broken = false
    try {
      await client.query('BEGIN')
      const expunged = await expungeMessages(client, ids)
      await client.query('COMMIT')
      return expunged
    } catch (error) {
      await client.query('ROLLBACK').catch(() => {
        broken = true
      })
      // A worker that records several of these deliveries at once may have them in another order.
      if (!isTransient(error) || tries >= TRIES_MAX) throw error
    } finally {
      client.release(broken)
    }
  }
}

/** Takes away the payload of a message; does nothing where there is none, or none any more. */
export async function expungeMessage(pool: Pool, id: string): Promise<Expunged> {
  return await inTransaction(pool, [id])
}

/** Messages that are looked at, and those of them that one transaction takes: some have large payloads. */
const SLICE = 2_000
const BATCH = 100

// What is looked at is bounded, not only what is found: it takes as long among millions that were expunged before.
const scan = (where: string) => `
SELECT id, expunged_at IS NULL AS "hasPayload" FROM messages
WHERE ${where} AND id > $1 AND id < $2 ORDER BY id LIMIT ${SLICE}`

const SCAN = scan('true')
const SCAN_OWNER = scan('owner_id = $3')

export const FIRST_POSITION = '00000000-0000-0000-0000-000000000000'
const HIGHEST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

/**
 * Takes away payloads of the next messages, in the order of their ids.
 *
 * @param position `FIRST_POSITION`, or where the call before ended
 * @returns the position to go on from; null: nothing is left
 */
export async function expungeSlice(
  pool: Pool,
  { ownerId, before }: ExpungeScope,
  position: string,
): Promise<Expunged & { position: string | null }> {
  const until = before === undefined ? HIGHEST_ID : lowestId(before.getTime())
  const { rows } = await pool.query<{ id: string; hasPayload: boolean }>(
    ownerId === undefined
      ? { name: 'scan-expungeable', text: SCAN, values: [position, until] }
      : { name: 'scan-expungeable-of-owner', text: SCAN_OWNER, values: [position, until, ownerId] },
  )
  const total: Expunged = { messages: 0, cancelled: 0 }
  const ids = rows.filter(({ hasPayload }) => hasPayload).map(({ id }) => id)
  for (let at = 0; at < ids.length; at += BATCH) {
    const { messages, cancelled } = await inTransaction(pool, ids.slice(at, at + BATCH))
    total.messages += messages
    total.cancelled += cancelled
  }
  return { ...total, position: rows.length < SLICE ? null : rows.at(-1)!.id }
}

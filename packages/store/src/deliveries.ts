import { lowestId } from '@posthorn/contracts'
import { isOfMessage } from './delivery-ids.ts'
import { KEEP_LAST_ATTEMPT } from './keep-last-attempt.ts'
import type { Pool } from './pool.ts'
import { type Conditions, type Listed, type Page, scanList } from './scan-list.ts'

export type DeliveryState = 'pending' | 'delivered' | 'dead' | 'cancelled' | 'skipped'

export interface DeliveryRecord {
  id: string
  state: DeliveryState
  messageId: string
  endpointId: string
  ownerId: string
  eventType: string
  /** Attempts that were made and recorded. */
  attempts: number
  /** When the next attempt may be made; null once ended. */
  dueAt: Date | null
  endedAt: Date | null
  /** Its message has no payload any more. */
  expunged: boolean
}

const COLUMNS = `t.id, t.state, t.message_id AS "messageId", t.endpoint_id AS "endpointId",
  t.owner_id AS "ownerId", t.event_type AS "eventType", t.attempts, t.due_at AS "dueAt", t.ended_at AS "endedAt",
  t.expunged IS TRUE AS expunged`

/** @param scope UUID of the one owner whose deliveries may be found */
export async function findDelivery(
  pool: Pool,
  id: string,
  scope?: string,
): Promise<DeliveryRecord | undefined> {
  const { rows } = await pool.query<DeliveryRecord>({
    name: 'find-delivery',
    text: `SELECT ${COLUMNS} FROM deliveries t WHERE t.id = $1 AND ($2::uuid IS NULL OR t.owner_id = $2)`,
    values: [id, scope ?? null],
  })
  return rows[0]
}

export interface DeliveryFilter {
  ownerId?: string
  endpointId?: string
  messageId?: string
  eventType?: string
  state?: DeliveryState
  /** Accepted at or after, and before. */
  after?: Date
  before?: Date
}

/** Newest first. */
export function listDeliveries(
  pool: Pool,
  { messageId, endpointId, ownerId, state, eventType, after, before }: DeliveryFilter,
  page: Page,
): Promise<Listed<DeliveryRecord>> {
  const given: Record<string, Conditions[number]> = {
    messageId: [(p) => isOfMessage('t', `${p}::uuid`), messageId],
    endpointId: [(p) => `t.endpoint_id = ${p}`, endpointId],
    ownerId: [(p) => `t.owner_id = ${p}`, ownerId],
    state: [(p) => `t.state = ${p}`, state],
  }
  // The index that finds the least. Nearly all are `delivered`: an index has only the others.
  const by =
    Object.keys(given).find(
      (name) => given[name]![1] !== undefined && !(name === 'state' && state === 'delivered'),
    ) ?? 'none'
  return scanList(
    pool,
    {
      columns: COLUMNS,
      from: 'deliveries t',
      found: [
        ...(given[by] === undefined ? [] : [given[by]]),
        [(p) => `t.id >= ${p}`, after && lowestId(after.getTime())],
        [(p) => `t.id < ${p}`, before && lowestId(before.getTime())],
      ],
      filtered: [
        ...Object.entries(given).flatMap(([name, condition]) => (name === by ? [] : [condition])),
        [(p) => `t.event_type = ${p}`, eventType],
      ],
    },
    page,
  )
}

// Keys:    a delivery is in exactly one of deliveries_pending and deliveries_ended
// Input:   $1 the delivery's id, $2 milliseconds until the sweep looks at it
// Output:  one row where the delivery is now due: it was pending and nobody holds it, or it had ended and was
//          not expunged
const RETRY = `
WITH reopened AS (
  DELETE FROM deliveries_ended WHERE id = $1 AND expunged IS NULL RETURNING *
), kept AS (${KEEP_LAST_ATTEMPT}
), inserted AS (
  INSERT INTO deliveries_pending (id, state, message_id, endpoint_id, owner_id, event_type, attempts, due_at, wake_at)
  SELECT id, 'pending', message_id, endpoint_id, owner_id, event_type, attempts,
    date_trunc('milliseconds', now()), now() + $2::int * interval '1 millisecond'
  FROM reopened
  RETURNING id
), hastened AS (
  UPDATE deliveries_pending
  SET due_at = date_trunc('milliseconds', now()), wake_at = now() + $2::int * interval '1 millisecond'
  WHERE id = $1 AND (lease_until IS NULL OR lease_until <= now())
  RETURNING id
)
SELECT id FROM inserted UNION ALL SELECT id FROM hastened`

/**
 * Makes a delivery due now, whatever its state; its recorded attempts stay and go on counting.
 *
 * @returns false where a worker holds it at this moment: its attempt is under way already
 */
export async function makeDue(pool: Pool, id: string, wakeAfterMs: number): Promise<boolean> {
  const { rowCount } = await pool.query({ name: 'make-due', text: RETRY, values: [id, wakeAfterMs] })
  return (rowCount ?? 0) > 0
}

export interface AttemptRecord {
  number: number
  startedAt: Date
  durationMs: number
  outcome: string
  status: number | null
  detail: string | null
  dnsMs: number | null
  connectMs: number | null
  tlsMs: number | null
  firstByteMs: number | null
  responseHeaders: [string, string][] | null
  responseBody: Buffer | null
  responseBodyTruncated: boolean
}

/** All attempts of a delivery, first to last. */
export async function listAttempts(
  pool: Pool,
  deliveryId: string,
  page: { limit: number; cursor?: number },
): Promise<AttemptRecord[]> {
  const { rows } = await pool.query<AttemptRecord>({
    name: 'list-attempts',
    text: `SELECT number, started_at AS "startedAt", duration_ms AS "durationMs", outcome, status, detail,
        dns_ms AS "dnsMs", connect_ms AS "connectMs", tls_ms AS "tlsMs", first_byte_ms AS "firstByteMs",
        response_headers AS "responseHeaders", response_body AS "responseBody",
        response_body_truncated AS "responseBodyTruncated"
      FROM attempts_all WHERE delivery_id = $1 AND number > $2 ORDER BY number LIMIT $3`,
    values: [deliveryId, page.cursor ?? 0, page.limit],
  })
  return rows
}

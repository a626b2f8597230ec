import { lowestId } from '@posthorn/contracts'
import type { Pool } from './pool.ts'
import { type Listed, type Page, scanList } from './scan-list.ts'

export interface MessageSummary {
  id: string
  ownerId: string
  /** Null once the owner was deleted. */
  ownerUid: string | null
  eventType: string
  timestamp: Date
  /** How many endpoints matched when it was accepted. */
  deliveries: number
  /** When its payload was taken away; null: it is there. */
  expungedAt: Date | null
}

export interface MessageRecord extends MessageSummary {
  /** Empty once it was expunged. */
  payload: Buffer
}

const COLUMNS = `t.id, t.owner_id AS "ownerId", o.uid AS "ownerUid", t.event_type AS "eventType",
  t."timestamp", t.deliveries, t.expunged_at AS "expungedAt"`

/** @param scope UUID of the one owner whose messages may be found */
export async function findMessage(
  pool: Pool,
  id: string,
  scope?: string,
): Promise<MessageRecord | undefined> {
  const { rows } = await pool.query<MessageRecord>({
    name: 'find-message',
    text: `SELECT ${COLUMNS}, t.payload FROM messages t LEFT JOIN owners o ON o.id = t.owner_id
      WHERE t.id = $1 AND ($2::uuid IS NULL OR t.owner_id = $2)`,
    values: [id, scope ?? null],
  })
  return rows[0]
}

/** The message that was made under an application's own key. */
export async function findMessageByKey(pool: Pool, key: string): Promise<MessageRecord | undefined> {
  const { rows } = await pool.query<MessageRecord>({
    name: 'find-message-by-key',
    text: `SELECT ${COLUMNS}, t.payload FROM idempotency_keys k JOIN messages t ON t.id = k.message_id
      LEFT JOIN owners o ON o.id = t.owner_id WHERE k.key = $1`,
    values: [key],
  })
  return rows[0]
}

export interface MessageFilter {
  ownerId?: string
  eventType?: string
  /** Accepted at or after, and before. */
  after?: Date
  before?: Date
}

/** Newest first, without their payloads. */
export function listMessages(
  pool: Pool,
  { ownerId, eventType, after, before }: MessageFilter,
  page: Page,
): Promise<Listed<MessageSummary>> {
  return scanList(
    pool,
    {
      columns: COLUMNS,
      from: 'messages t LEFT JOIN owners o ON o.id = t.owner_id',
      found: [
        [(p) => `t.owner_id = ${p}`, ownerId],
        [(p) => `t.id >= ${p}`, after && lowestId(after.getTime())],
        [(p) => `t.id < ${p}`, before && lowestId(before.getTime())],
      ],
      filtered: [[(p) => `t.event_type = ${p}`, eventType]],
    },
    page,
  )
}

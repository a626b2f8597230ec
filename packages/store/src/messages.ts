import { lowestId } from '@posthorn/contracts'
import type { Pool } from './pool.ts'

export interface MessageSummary {
  id: string
  ownerId: string
  /** Null once the owner was deleted. */
  ownerUid: string | null
  eventType: string
  timestamp: Date
  /** How many endpoints matched when it was accepted. */
  deliveries: number
}

export interface MessageRecord extends MessageSummary {
  payload: Buffer
}

const COLUMNS = `m.id, m.owner_id AS "ownerId", o.uid AS "ownerUid", m.event_type AS "eventType",
  m."timestamp", m.deliveries`

export async function findMessage(pool: Pool, id: string): Promise<MessageRecord | undefined> {
  const { rows } = await pool.query<MessageRecord>({
    name: 'find-message',
    text: `SELECT ${COLUMNS}, m.payload FROM messages m LEFT JOIN owners o ON o.id = m.owner_id WHERE m.id = $1`,
    values: [id],
  })
  return rows[0]
}

/** The message that was made under an application's own key. */
export async function findMessageByKey(pool: Pool, key: string): Promise<MessageRecord | undefined> {
  const { rows } = await pool.query<MessageRecord>({
    name: 'find-message-by-key',
    text: `SELECT ${COLUMNS}, m.payload FROM idempotency_keys k JOIN messages m ON m.id = k.message_id
      LEFT JOIN owners o ON o.id = m.owner_id WHERE k.key = $1`,
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

/** Newest first, without their payloads. `cursor` is the id of the last message that was seen. */
export async function listMessages(
  pool: Pool,
  filter: MessageFilter,
  page: { limit: number; cursor?: string },
): Promise<MessageSummary[]> {
  const { rows } = await pool.query<MessageSummary>({
    text: `SELECT ${COLUMNS} FROM messages m LEFT JOIN owners o ON o.id = m.owner_id
      WHERE ($1::uuid IS NULL OR m.owner_id = $1)
        AND ($2::text IS NULL OR m.event_type = $2)
        AND ($3::uuid IS NULL OR m.id >= $3)
        AND ($4::uuid IS NULL OR m.id < $4)
        AND ($5::uuid IS NULL OR m.id < $5)
      ORDER BY m.id DESC LIMIT $6`,
    values: [
      filter.ownerId ?? null,
      filter.eventType ?? null,
      filter.after ? lowestId(filter.after.getTime()) : null,
      filter.before ? lowestId(filter.before.getTime()) : null,
      page.cursor ?? null,
      page.limit,
    ],
  })
  return rows
}

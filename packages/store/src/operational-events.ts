import { type OperationalEventType, PLATFORM_OWNER_UID } from '@posthorn/contracts'
import type { PoolClient } from 'pg'

// What the statements that write events share. Each writes its event itself, so that it is committed with
// what it tells or not at all. Both are scalar subqueries: they are looked up by index for each event, and
// not at all where there is none, whatever the planner thinks of the number of rows.

/** SQL: does any endpoint subscribe to `type`, of the owner `ownerId` or of the platform? Both are SQL. */
export const isSubscribed = (ownerId: string, type: string) => `(SELECT true FROM endpoints subscriber
    WHERE subscriber.owner_id IN (${ownerId}, (SELECT p.id FROM owners p WHERE p.uid = '${PLATFORM_OWNER_UID}'))
      AND subscriber.deleted_at IS NULL AND ${type} = ANY (subscriber.event_types)
    LIMIT 1) IS NOT NULL`

/** SQL: an `AboutEndpoint` as of now. The query of a URL may hold a secret, and is left out. */
export const aboutEndpoint = (endpointId: string) => `(SELECT json_build_object('ownerId', its_owner.id,
      'ownerUid', its_owner.uid, 'endpointId', its.id, 'endpointUid', its.uid, 'url', split_part(its.url, '?', 1))
    FROM endpoints its JOIN owners its_owner ON its_owner.id = its.owner_id WHERE its.id = ${endpointId})`

export interface AboutEndpoint {
  ownerId: string
  ownerUid: string | null
  endpointId: string
  endpointUid: string | null
  url: string
}

/** An endpoint was disabled, fails, or recovered. */
interface EndpointTurn {
  /** Null: the endpoint's row is gone. */
  about: AboutEndpoint | null
  reason: string
  /** As PostgreSQL writes it in JSON. */
  since: string
}

/** A delivery is dead. */
interface ExhaustedDelivery {
  /** Null: the endpoint's row is gone. */
  about: AboutEndpoint | null
  messageId: string
  eventType: string
  deliveryId: string
  attempts: number
  startedAt: string
  outcome: string
  status: number | null
}

/** An event that waits to be accepted as messages. */
export type OperationalEventRecord = {
  id: string
  createdAt: Date
  /** The owners that have endpoints for it: the one that it is about, the platform, both or none. */
  recipientIds: string[]
} & (
  | { type: Exclude<OperationalEventType, 'message.exhausted'>; data: EndpointTurn }
  | { type: 'message.exhausted'; data: ExhaustedDelivery }
)

// Input:   $1 how many at most
// Output:  the oldest, with the owners that have endpoints for them by now
// Locks:   until the end of the transaction; what another process takes is passed over
const TAKE = `
SELECT v.id, v.type, v.data, v.created_at AS "createdAt", ARRAY (
  SELECT DISTINCT s.owner_id FROM endpoints s
  WHERE s.owner_id IN (v.owner_id, (SELECT p.id FROM owners p WHERE p.uid = '${PLATFORM_OWNER_UID}'))
    AND s.deleted_at IS NULL AND v.type = ANY (s.event_types)
) AS "recipientIds"
FROM operational_events v ORDER BY v.id LIMIT $1
FOR UPDATE OF v SKIP LOCKED`

export async function takeOperationalEvents(
  client: PoolClient,
  limit: number,
): Promise<OperationalEventRecord[]> {
  const { rows } = await client.query<OperationalEventRecord>({
    name: 'take-operational-events',
    text: TAKE,
    values: [limit],
  })
  return rows
}

export async function deleteOperationalEvents(client: PoolClient, ids: readonly string[]): Promise<void> {
  await client.query({
    name: 'delete-operational-events',
    text: 'DELETE FROM operational_events WHERE id = ANY ($1::uuid[])',
    values: [ids],
  })
}

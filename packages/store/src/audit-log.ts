import { lowestId, newUuid } from '@posthorn/contracts'
import type { Pool } from './pool.ts'
import { type Listed, type Page, scanList } from './scan-list.ts'

export interface NewAuditEntry {
  /** `root`, `cli`, or the public id of a key or of an owner token. */
  actor: string
  /** Name of the key. */
  actorName: string | null
  /** UUID of the owner whose key or token it is; null: it is the platform's. */
  actorOwnerId: string | null
  /** Where the request came from. */
  address: string | null
  method: string
  route: string
  /** UUID of the owner whose thing was changed; null: it is the platform's. */
  ownerId: string | null
  /** What kind of thing was changed, and its public id. */
  resource: string
  resourceId: string | null
  /** Names of the members that were given, without their values. */
  members: string[]
  status: number | null
  requestId: string | null
}

export interface AuditRecord extends NewAuditEntry {
  id: string
  at: Date
}

/** Adds to the audit log, from which nothing is ever taken. */
export async function insertAuditEntry(pool: Pool, entry: NewAuditEntry): Promise<void> {
  await pool.query({
    name: 'insert-audit-entry',
    text: `INSERT INTO audit_log (id, actor, actor_name, actor_owner_id, address, method, route, owner_id,
        resource, resource_id, members, status, request_id)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
    values: [
      newUuid(),
      entry.actor,
      entry.actorName,
      entry.actorOwnerId,
      entry.address,
      entry.method,
      entry.route,
      entry.ownerId,
      entry.resource,
      entry.resourceId,
      entry.members,
      entry.status,
      entry.requestId,
    ],
  })
}

export interface AuditFilter {
  ownerId?: string
  actor?: string
  /** Done at or after, and before. */
  after?: Date
  before?: Date
}

const COLUMNS = `t.id, t.at, t.actor, t.actor_name AS "actorName", t.actor_owner_id AS "actorOwnerId", t.address,
  t.method, t.route, t.owner_id AS "ownerId", t.resource, t.resource_id AS "resourceId", t.members, t.status,
  t.request_id AS "requestId"`

/** Newest first. */
export function listAuditEntries(
  pool: Pool,
  { ownerId, actor, after, before }: AuditFilter,
  page: Page,
): Promise<Listed<AuditRecord>> {
  const ofOwner: [(p: string) => string, unknown] = [(p) => `t.owner_id = ${p}`, ownerId]
  const byActor: [(p: string) => string, unknown] = [(p) => `t.actor = ${p}`, actor]
  return scanList(
    pool,
    {
      columns: COLUMNS,
      from: 'audit_log t',
      found: [
        // One index finds; where both are asked for, it is the owner's.
        ...(ownerId === undefined ? [byActor] : [ofOwner]),
        [(p) => `t.id >= ${p}`, after && lowestId(after.getTime())],
        [(p) => `t.id < ${p}`, before && lowestId(before.getTime())],
      ],
      filtered: ownerId === undefined ? [] : [byActor],
    },
    page,
  )
}

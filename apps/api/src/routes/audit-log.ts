import {
  ActorReference,
  AuditEntry,
  encodeId,
  GivenTime,
  LIST_LIMIT_DEFAULT,
  List,
  pageMembers,
  Reference,
} from '@posthorn/contracts'
import { type AuditRecord, listAuditEntries } from '@posthorn/store'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import { decodeCursor, nextOf } from '../cursor.ts'
import { givenTime } from '../given-times.ts'
import { scopeOf } from '../principal.ts'
import { bearer, problemResponses } from '../route-schema.ts'
import { ownerFilter } from './filters.ts'

const ListQuery = Type.Object(
  {
    ...pageMembers,
    owner: Type.Optional(Reference('Only of what is this owner’s: id or uid.')),
    actor: Type.Optional(ActorReference),
    after: Type.Optional(GivenTime('Only what was done then or later.')),
    before: Type.Optional(GivenTime('Only what was done earlier.')),
  },
  { additionalProperties: false },
)

/** Who changed what, when, from where. */
export function registerAuditLog(app: Api, { store }: ApiContext): void {
  app.get(
    '/audit-log',
    {
      config: { roles: ['read', 'owner'] },
      schema: {
        summary: 'List changes, newest first',
        description:
          'Everything that was changed over REST or by `posthorn keys`. An owner sees what was changed of its own, without the names and addresses of those who run the platform.',
        operationId: 'listAuditEntries',
        tags: ['Audit log'],
        security: bearer,
        querystring: ListQuery,
        response: {
          200: List(AuditEntry),
          ...problemResponses('invalid_cursor', 'validation_failed', 'unknown_field', 'unknown_owner'),
        },
      },
    },
    async (request) => {
      const { limit = LIST_LIMIT_DEFAULT, cursor, ...filters } = request.query
      const list = 'audit-log'
      const scope = scopeOf(request)
      const position = cursor === undefined ? undefined : decodeCursor(list, filters, cursor)
      const ownerId = await ownerFilter(store.prisma, filters.owner, scope)
      const found = await listAuditEntries(
        store.pool,
        {
          ...(ownerId !== undefined && { ownerId }),
          ...(filters.actor !== undefined && { actor: filters.actor }),
          ...(filters.after !== undefined && { after: givenTime(filters.after, '/after') }),
          ...(filters.before !== undefined && { before: givenTime(filters.before, '/before') }),
        },
        { limit, ...(position !== undefined && { cursor: position }) },
      )
      return {
        data: found.items.map((record) => toAuditEntry(record, scope)),
        next: nextOf(list, filters, found.next),
      }
    },
  )
}

function toAuditEntry(record: AuditRecord, scope: string | undefined): AuditEntry {
  const { actor, ownerId, actorOwnerId } = record
  // To an owner, the platform is one: which of its keys it was, and from where, is not the owner's.
  const isShown = scope === undefined || actorOwnerId === scope
  const hasId = actor.includes('_')
  return {
    id: encodeId('aud', record.id),
    at: record.at.toISOString(),
    actor: {
      kind: actor.startsWith('key_') ? 'key' : actor.startsWith('tok_') ? 'token' : (actor as 'root' | 'cli'),
      id: hasId && isShown ? actor : null,
      name: isShown ? record.actorName : null,
      owner: actorOwnerId === null ? null : encodeId('own', actorOwnerId),
    },
    address: isShown ? record.address : null,
    method: record.method,
    route: record.route,
    owner: ownerId === null ? null : encodeId('own', ownerId),
    resource: { type: record.resource, id: record.resourceId },
    members: record.members,
    status: record.status,
    requestId: record.requestId,
  }
}

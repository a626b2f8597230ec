import {
  decodeId,
  encodeId,
  isUid,
  LIST_LIMIT_DEFAULT,
  List,
  NewOwner,
  Owner,
  OwnerChange,
  PageQuery,
} from '@posthorn/contracts'
import {
  createOwner,
  deleteOwner,
  findOwner,
  listOwners,
  type OwnerKey,
  type OwnerRecord,
  updateOwner,
} from '@posthorn/store'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import type { Change } from '../audit.ts'
import { decodeCursor, pageOf } from '../cursor.ts'
import { scopeOf } from '../principal.ts'
import { ProblemError } from '../problem-details.ts'
import { bearer, bodyProblems, problemResponses } from '../route-schema.ts'

const tags = ['Owners']
const params = Type.Object({ owner: Type.String({ description: 'Id or uid of the owner.' }) })

/** The tenants whose endpoints receive events. */
export function registerOwners(app: Api, { store }: ApiContext): void {
  const { prisma } = store

  app.post(
    '/owners',
    {
      schema: {
        summary: 'Make an owner',
        operationId: 'createOwner',
        tags,
        security: bearer,
        body: NewOwner,
        response: { 201: Owner, ...problemResponses(...bodyProblems, 'uid_taken') },
      },
    },
    async (request, reply) => {
      const result = await createOwner(prisma, request.body)
      if (result.kind === 'uid-taken') throw uidTaken(request.body.uid)
      request.change = changeOf(result.owner.id)
      return reply.code(201).send(toOwner(result.owner))
    },
  )

  app.get(
    '/owners',
    {
      config: { roles: ['read'] },
      schema: {
        summary: 'List owners, newest first',
        operationId: 'listOwners',
        tags,
        security: bearer,
        querystring: PageQuery,
        response: {
          200: List(Owner),
          ...problemResponses('invalid_cursor', 'validation_failed', 'unknown_field'),
        },
      },
    },
    async ({ query: { limit = LIST_LIMIT_DEFAULT, cursor } }) => {
      const list = 'owners'
      const found = await listOwners(prisma, {
        limit: limit + 1,
        ...(cursor !== undefined && { cursor: decodeCursor(list, {}, cursor) }),
      })
      const page = pageOf(found, limit, list, {}, ({ id }) => id)
      return { data: page.items.map(toOwner), next: page.next }
    },
  )

  app.get(
    '/owners/:owner',
    {
      config: { roles: ['read'] },
      schema: {
        summary: 'Get an owner',
        operationId: 'getOwner',
        tags,
        security: bearer,
        params,
        response: { 200: Owner, ...problemResponses('not_found') },
      },
    },
    async (request) => toOwner(await requireOwner(prisma, request)),
  )

  app.patch(
    '/owners/:owner',
    {
      schema: {
        summary: 'Change an owner',
        operationId: 'updateOwner',
        tags,
        security: bearer,
        params,
        body: OwnerChange,
        response: { 200: Owner, ...problemResponses(...bodyProblems, 'not_found', 'uid_taken') },
      },
    },
    async (request) => {
      const { params, body } = request
      const result = await updateOwner(prisma, ownerKey(params.owner), body)
      if (result.kind === 'unknown') throw ownerNotFound()
      if (result.kind === 'uid-taken') throw uidTaken(body.uid!)
      request.change = changeOf(result.owner.id)
      return toOwner(result.owner)
    },
  )

  app.delete(
    '/owners/:owner',
    {
      schema: {
        summary: 'Delete an owner with its endpoints',
        description: 'What was sent stays in the log. Deliveries that are pending end as cancelled.',
        operationId: 'deleteOwner',
        tags,
        security: bearer,
        params,
        response: { 204: Type.Null({ description: 'It is deleted.' }), ...problemResponses('not_found') },
      },
    },
    async (request, reply) => {
      const id = await deleteOwner(prisma, ownerKey(request.params.owner))
      if (id === undefined) throw ownerNotFound()
      request.change = changeOf(id)
      return reply.code(204).send(null)
    },
  )
}

/**
 * The owner in the path, if the request may find it.
 *
 * @throws {ProblemError} `not_found`, the same for an id of another kind and for another owner than the key is for
 *   as for one that is missing
 */
export async function requireOwner(
  prisma: ApiContext['store']['prisma'],
  request: FastifyRequest,
): Promise<OwnerRecord> {
  const { owner: text } = request.params as { owner: string }
  const owner = await findOwner(prisma, ownerKey(text), scopeOf(request))
  if (owner === undefined) throw ownerNotFound()
  return owner
}

function ownerKey(text: string): OwnerKey {
  const id = decodeId('own', text)
  if (id !== undefined) return { id }
  if (isUid(text)) return { uid: text }
  throw ownerNotFound()
}

function changeOf(ownerId: string): Change {
  return { resource: 'owner', id: encodeId('own', ownerId), ownerId }
}

function ownerNotFound(): ProblemError {
  return new ProblemError('not_found', 'There is no such owner. GET /v1/owners lists them.')
}

function uidTaken(uid: string): ProblemError {
  return new ProblemError('uid_taken', `Another owner has the uid ${uid}: GET /v1/owners/${uid} shows it.`)
}

function toOwner({ id, uid, name, createdAt, updatedAt }: OwnerRecord): Owner {
  return {
    id: encodeId('own', id),
    uid,
    name,
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  }
}

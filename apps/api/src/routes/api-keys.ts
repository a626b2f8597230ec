import {
  ApiKey,
  CreatedApiKey,
  decodeId,
  encodeId,
  LIST_LIMIT_DEFAULT,
  List,
  NewApiKey,
  PageQuery,
} from '@posthorn/contracts'
import {
  type ApiKeyRecord,
  createApiKey,
  findApiKey,
  listApiKeys,
  type NewApiKeyInput,
  revokeApiKey,
} from '@posthorn/store'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import type { Change } from '../audit.ts'
import { decodeCursor, pageOf } from '../cursor.ts'
import { givenTime } from '../given-times.ts'
import { ProblemError } from '../problem-details.ts'
import { bearer, bodyProblems, problemResponses } from '../route-schema.ts'
import { ownerFilter, unknownOwner } from './filters.ts'

const tags = ['API keys']
const params = Type.Object({ key: Type.String({ description: 'Id of the key.' }) })

/** Keys for this API. The text of a key is in the answer that makes it and nowhere else. */
export function registerApiKeys(app: Api, { store }: ApiContext): void {
  const { prisma } = store

  app.post(
    '/api-keys',
    {
      schema: {
        summary: 'Make an API key',
        description: 'The key itself is in this answer only: its SHA-256 is all that is kept.',
        operationId: 'createApiKey',
        tags,
        security: bearer,
        body: NewApiKey,
        response: { 201: CreatedApiKey, ...problemResponses(...bodyProblems, 'unknown_owner') },
      },
    },
    async (request, reply) => {
      const { body } = request
      const input = judged(body)
      const ownerId = await ownerFilter(prisma, body.owner ?? undefined)
      const result = await createApiKey(store, { ...input, ...(ownerId !== undefined && { ownerId }) })
      if (result.kind === 'unknown-owner') throw unknownOwner(body.owner!)
      request.change = changeOf(result.apiKey)
      return reply.code(201).send({ ...toApiKey(result.apiKey), key: result.key })
    },
  )

  app.get(
    '/api-keys',
    {
      config: { roles: ['read'] },
      schema: {
        summary: 'List API keys, newest first, those that were revoked too',
        operationId: 'listApiKeys',
        tags,
        security: bearer,
        querystring: PageQuery,
        response: {
          200: List(ApiKey),
          ...problemResponses('invalid_cursor', 'validation_failed', 'unknown_field'),
        },
      },
    },
    async ({ query: { limit = LIST_LIMIT_DEFAULT, cursor } }) => {
      const list = 'api-keys'
      const found = await listApiKeys(prisma, {
        limit: limit + 1,
        ...(cursor !== undefined && { cursor: decodeCursor(list, {}, cursor) }),
      })
      const page = pageOf(found, limit, list, {}, ({ id }) => id)
      return { data: page.items.map(toApiKey), next: page.next }
    },
  )

  app.get(
    '/api-keys/:key',
    {
      config: { roles: ['read'] },
      schema: {
        summary: 'Get an API key, without its text',
        operationId: 'getApiKey',
        tags,
        security: bearer,
        params,
        response: { 200: ApiKey, ...problemResponses('not_found') },
      },
    },
    async ({ params: { key } }) => {
      const found = await findApiKey(prisma, keyId(key))
      if (found === undefined) throw notFound()
      return toApiKey(found)
    },
  )

  app.delete(
    '/api-keys/:key',
    {
      schema: {
        summary: 'Revoke an API key',
        description: 'For good, within three seconds in all processes. It stays in the list.',
        operationId: 'revokeApiKey',
        tags,
        security: bearer,
        params,
        response: { 204: Type.Null({ description: 'It is revoked.' }), ...problemResponses('not_found') },
      },
    },
    async (request, reply) => {
      const result = await revokeApiKey(prisma, keyId(request.params.key))
      if (result.kind === 'unknown') throw notFound()
      if (result.kind === 'revoked') request.change = changeOf(result.apiKey)
      return reply.code(204).send(null)
    },
  )
}

/** Judges what a schema cannot. */
function judged({ name, role, owner, expiresAt }: NewApiKey): Omit<NewApiKeyInput, 'ownerId'> {
  if ((role === 'owner') !== (typeof owner === 'string')) {
    throw invalid('/owner', `must be given with the role owner, and with no other`)
  }
  if (typeof expiresAt !== 'string') return { name, role }
  const time = givenTime(expiresAt, '/expiresAt')
  if (time.getTime() <= Date.now()) throw invalid('/expiresAt', 'must be in the future')
  return { name, role, expiresAt: time }
}

function invalid(path: string, message: string): ProblemError {
  return new ProblemError('validation_failed', `In the body, ${path.slice(1)} ${message}.`, {
    errors: [{ path, message }],
  })
}

/** @throws {ProblemError} `not_found`, the same for a text that is no id as for one that is missing */
function keyId(text: string): string {
  const id = decodeId('key', text)
  if (id === undefined) throw notFound()
  return id
}

function changeOf({ id, ownerId }: ApiKeyRecord): Change {
  return { resource: 'api-key', id: encodeId('key', id), ownerId }
}

function notFound(): ProblemError {
  return new ProblemError('not_found', 'There is no such API key. GET /v1/api-keys lists them.')
}

function toApiKey(record: ApiKeyRecord): ApiKey {
  return {
    id: encodeId('key', record.id),
    name: record.name,
    role: record.role as ApiKey['role'],
    owner: record.ownerId === null ? null : encodeId('own', record.ownerId),
    createdAt: record.createdAt.toISOString(),
    expiresAt: record.expiresAt?.toISOString() ?? null,
    lastUsedAt: record.lastUsedAt?.toISOString() ?? null,
    revokedAt: record.revokedAt?.toISOString() ?? null,
  }
}

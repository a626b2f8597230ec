import {
  encodeId,
  NewOwnerToken,
  newUuid,
  OWNER_TOKEN_SECONDS_DEFAULT,
  OwnerToken,
} from '@posthorn/contracts'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import { signOwnerToken } from '../owner-token.ts'
import type { OwnerTokenKey } from '../owner-token-key.ts'
import { bearer, bodyProblems, problemResponses } from '../route-schema.ts'
import { requireOwner } from './owners.ts'

/** Short-lived keys for an owner's portal or browser. They are signed, and kept nowhere. */
export function registerOwnerTokens(app: Api, { store }: ApiContext, tokenKey: OwnerTokenKey): void {
  app.post(
    '/owners/:owner/tokens',
    {
      schema: {
        summary: 'Make an owner token',
        description:
          'It has the powers of a key with the role owner, for an hour or as long as expiresInS says, and ends by itself or with its owner.',
        operationId: 'createOwnerToken',
        tags: ['Owners'],
        security: bearer,
        params: Type.Object({ owner: Type.String({ description: 'Id or uid of the owner.' }) }),
        body: NewOwnerToken,
        response: { 201: OwnerToken, ...problemResponses(...bodyProblems, 'not_found') },
      },
    },
    async (request, reply) => {
      const { id: ownerId } = await requireOwner(store.prisma, request)
      const { expiresInS = OWNER_TOKEN_SECONDS_DEFAULT } = request.body
      const id = newUuid()
      const expiresAtS = Math.floor(Date.now() / 1_000) + expiresInS
      request.change = { resource: 'owner-token', id: encodeId('tok', id), ownerId }
      return reply.code(201).send({
        id: encodeId('tok', id),
        owner: encodeId('own', ownerId),
        token: signOwnerToken(await tokenKey.current(), { id, ownerId, expiresAtS }),
        expiresAt: new Date(expiresAtS * 1_000).toISOString(),
      })
    },
  )
}

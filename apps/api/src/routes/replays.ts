import {
  decodeId,
  encodeId,
  isIdempotencyKey,
  LIST_LIMIT_DEFAULT,
  List,
  NewReplay,
  PageQuery,
  Replay,
  ReplayCount,
} from '@posthorn/contracts'
import { type AskReplayResult, askReplay, REPLAY_PER_SECOND_DEFAULT } from '@posthorn/dispatch'
import {
  cancelReplay,
  countReplayable,
  type EndpointRecord,
  findReplay,
  listReplays,
  type ReplayRecord,
  type ReplayRequest,
} from '@posthorn/store'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import type { Change } from '../audit.ts'
import { decodeCursor, pageOf } from '../cursor.ts'
import { givenTime } from '../given-times.ts'
import { scopeOf } from '../principal.ts'
import { ProblemError } from '../problem-details.ts'
import { bearer, bodyProblems, problemResponses } from '../route-schema.ts'
import { endpointNotFound, requireEndpoint } from './endpoints.ts'

const tags = ['Replays']
const endpointParams = Type.Object({
  owner: Type.String({ description: 'Id or uid of the owner.' }),
  endpoint: Type.String({ description: 'Id or uid of the endpoint.' }),
})
const params = Type.Object({ replay: Type.String({ description: 'Id of the replay.' }) })

/** Past messages that are sent to an endpoint again. */
export function registerReplays(app: Api, { store }: ApiContext): void {
  const { pool, prisma } = store

  app.post(
    '/owners/:owner/endpoints/:endpoint/replays',
    {
      config: { roles: ['owner'] },
      schema: {
        summary: 'Send past messages again',
        description:
          'Workers do it, at the pace of perSecond. Asking again under the same Idempotency-Key header gives the same replay. Attempts go on counting; the waits between them begin anew.',
        operationId: 'createReplay',
        tags,
        security: bearer,
        params: endpointParams,
        headers: Type.Object({
          'idempotency-key': Type.Optional(
            Type.String({ description: 'Your own key for the replay; 1 to 255 visible ASCII characters.' }),
          ),
        }),
        body: NewReplay,
        response: {
          200: ReplayCount,
          202: Replay,
          ...problemResponses(
            ...bodyProblems,
            'not_found',
            'invalid_event_type',
            'invalid_idempotency_key',
            'idempotency_conflict',
            'replay_under_way',
            'endpoint_disabled',
          ),
        },
      },
    },
    async (request, reply) => {
      const { body, headers } = request
      const asked = toRequest(await requireEndpoint(prisma, request), body)
      if (body.dryRun === true) {
        return reply.code(200).send({ dryRun: true, total: await countReplayable(pool, asked) })
      }
      const key = idempotencyKey(headers['idempotency-key'])
      const result = await askReplay(
        { pool },
        {
          ...asked,
          perSecond: body.perSecond ?? REPLAY_PER_SECOND_DEFAULT,
          ...(key !== undefined && { idempotencyKey: key }),
        },
      )
      if (result.kind !== 'asked') throw refusal(result, asked)
      if (result.again) reply.header('idempotent-replayed', 'true')
      else request.change = changeOf(result.replay)
      return reply.code(202).send(toReplay(result.replay))
    },
  )

  app.get(
    '/owners/:owner/endpoints/:endpoint/replays',
    {
      config: { roles: ['read', 'owner'] },
      schema: {
        summary: 'List the replays of an endpoint, newest first',
        operationId: 'listReplays',
        tags,
        security: bearer,
        params: endpointParams,
        querystring: PageQuery,
        response: {
          200: List(Replay),
          ...problemResponses('not_found', 'invalid_cursor', 'validation_failed', 'unknown_field'),
        },
      },
    },
    async (request) => {
      const { limit = LIST_LIMIT_DEFAULT, cursor } = request.query
      const { id } = await requireEndpoint(prisma, request)
      const list = `replays of ${id}`
      const found = await listReplays(pool, id, {
        limit: limit + 1,
        ...(cursor !== undefined && { cursor: decodeCursor(list, {}, cursor) }),
      })
      const page = pageOf(found, limit, list, {}, (replay) => replay.id)
      return { data: page.items.map(toReplay), next: page.next }
    },
  )

  app.get(
    '/replays/:replay',
    {
      config: { roles: ['read', 'owner'] },
      schema: {
        summary: 'Get a replay: how far it came',
        operationId: 'getReplay',
        tags,
        security: bearer,
        params,
        response: { 200: Replay, ...problemResponses('not_found') },
      },
    },
    async (request) => toReplay(await requireReplay(replayId(request.params.replay), scopeOf(request))),
  )

  app.post(
    '/replays/:replay/cancel',
    {
      config: { roles: ['owner'] },
      schema: {
        summary: 'Cancel a replay',
        description:
          'Nothing more becomes due. What is due already is sent. One that has ended stays as it is.',
        operationId: 'cancelReplay',
        tags,
        security: bearer,
        params,
        response: { 200: Replay, ...problemResponses('not_found') },
      },
    },
    async (request) => {
      const id = replayId(request.params.replay)
      const scope = scopeOf(request)
      await cancelReplay(pool, id, scope)
      const cancelled = await requireReplay(id, scope)
      request.change = changeOf(cancelled)
      return toReplay(cancelled)
    },
  )

  async function requireReplay(id: string, scope: string | undefined): Promise<ReplayRecord> {
    const found = await findReplay(pool, id, scope)
    if (found === undefined) throw replayNotFound()
    return found
  }
}

/** Reads what the schema let through. */
function toRequest(endpoint: EndpointRecord, body: NewReplay): ReplayRequest {
  const after = givenTime(body.after, '/after')
  const before = typeof body.before === 'string' ? givenTime(body.before, '/before') : null
  if (before !== null && before <= after) {
    const message = 'must be later than after'
    throw new ProblemError('validation_failed', `In the body, before ${message}.`, {
      errors: [{ path: '/before', message }],
    })
  }
  return {
    ownerId: endpoint.ownerId,
    endpointId: endpoint.id,
    after,
    before,
    selection: body.state,
    eventTypes: body.eventTypes ?? [],
  }
}

function idempotencyKey(header: unknown): string | undefined {
  if (header === undefined) return undefined
  if (typeof header === 'string' && isIdempotencyKey(header)) return header
  throw new ProblemError(
    'invalid_idempotency_key',
    'The header Idempotency-Key must be 1 to 255 visible ASCII characters, without spaces.',
  )
}

function refusal(
  result: Exclude<AskReplayResult, { kind: 'asked' }>,
  { ownerId, endpointId }: ReplayRequest,
): ProblemError {
  switch (result.kind) {
    case 'conflict':
      return new ProblemError(
        'idempotency_conflict',
        `${encodeId('rpl', result.replayId)} was asked for under this key, and covers something else. Give each replay a key of its own.`,
      )
    case 'under-way': {
      const id = encodeId('rpl', result.replayId)
      return new ProblemError(
        'replay_under_way',
        `${id} covers the same and still runs. GET /v1/replays/${id} says how far it came; cancel it to ask anew.`,
      )
    }
    case 'endpoint-deleted':
      return endpointNotFound()
    case 'endpoint-disabled': {
      const path = `/v1/owners/${encodeId('own', ownerId)}/endpoints/${encodeId('ep', endpointId)}`
      return new ProblemError(
        'endpoint_disabled',
        `The endpoint is disabled. Enable it with PATCH ${path} {"enabled": true}, then ask again.`,
      )
    }
  }
}

/** @throws {ProblemError} `not_found`, the same for a text that is no id as for one that is missing */
function replayId(text: string): string {
  const id = decodeId('rpl', text)
  if (id === undefined) throw replayNotFound()
  return id
}

function changeOf({ id, ownerId }: ReplayRecord): Change {
  return { resource: 'replay', id: encodeId('rpl', id), ownerId }
}

function replayNotFound(): ProblemError {
  return new ProblemError(
    'not_found',
    'There is no such replay. GET /v1/owners/{owner}/endpoints/{endpoint}/replays lists them.',
  )
}

function toReplay(record: ReplayRecord): Replay {
  return {
    id: encodeId('rpl', record.id),
    owner: encodeId('own', record.ownerId),
    endpoint: encodeId('ep', record.endpointId),
    request: {
      after: record.after.toISOString(),
      before: record.before?.toISOString() ?? null,
      state: record.selection,
      eventTypes: record.eventTypes.length === 0 ? null : record.eventTypes,
      perSecond: record.perSecond,
    },
    state: record.state,
    total: record.total,
    released: record.released,
    error: record.error,
    createdAt: record.createdAt.toISOString(),
    endedAt: record.endedAt?.toISOString() ?? null,
  }
}

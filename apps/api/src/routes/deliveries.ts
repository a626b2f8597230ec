import {
  Attempt,
  attemptUuid,
  Delivery,
  DeliveryState,
  decodeId,
  EventTypeName,
  encodeId,
  GivenTime,
  LIST_LIMIT_DEFAULT,
  List,
  PageQuery,
  PublicId,
  pageMembers,
  Reference,
  uuidTimeMs,
} from '@posthorn/contracts'
import { retryDelivery } from '@posthorn/dispatch'
import {
  type AttemptRecord,
  type DeliveryRecord,
  findDelivery,
  isEndpointOf,
  listAttempts,
  listDeliveries,
} from '@posthorn/store'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import { decodeCursor, NUMBER_POSITION, nextOf, pageOf } from '../cursor.ts'
import { givenTime } from '../given-times.ts'
import { scopeOf } from '../principal.ts'
import { ProblemError } from '../problem-details.ts'
import { bearer, problemResponses } from '../route-schema.ts'
import { endpointFilter, idFilter, ownerFilter } from './filters.ts'

const tags = ['Deliveries']
const params = Type.Object({ delivery: Type.String({ description: 'Id of the delivery.' }) })

const ListQuery = Type.Object(
  {
    ...pageMembers,
    owner: Type.Optional(Reference('Only of this owner: id or uid.')),
    endpoint: Type.Optional(Reference('Only to this endpoint: its id, or its uid beside the owner.')),
    message: Type.Optional(PublicId('msg', 'Only of this message.')),
    eventType: Type.Optional(EventTypeName),
    state: Type.Optional(DeliveryState),
    after: Type.Optional(GivenTime('Only those accepted then or later.')),
    before: Type.Optional(GivenTime('Only those accepted earlier.')),
  },
  { additionalProperties: false },
)

/** What became of messages at each endpoint. */
export function registerDeliveries(app: Api, { store, queue, logger }: ApiContext): void {
  const { pool, prisma } = store

  app.get(
    '/deliveries',
    {
      config: { roles: ['read', 'owner'] },
      schema: {
        summary: 'List deliveries, newest first',
        operationId: 'listDeliveries',
        tags,
        security: bearer,
        querystring: ListQuery,
        response: {
          200: List(Delivery),
          ...problemResponses('invalid_cursor', 'validation_failed', 'unknown_field', 'unknown_owner'),
        },
      },
    },
    async (request) => {
      const { limit = LIST_LIMIT_DEFAULT, cursor, ...filters } = request.query
      const scope = scopeOf(request)
      const list = 'deliveries'
      const position = cursor === undefined ? undefined : decodeCursor(list, filters, cursor)
      const ownerId = await ownerFilter(prisma, filters.owner, scope)
      const endpointId = await endpointFilter(prisma, filters.endpoint, ownerId)
      // What an endpoint of another owner has is not even looked through: that would show in time.
      if (
        scope !== undefined &&
        endpointId !== undefined &&
        !(await isEndpointOf(prisma, scope, endpointId))
      ) {
        return { data: [], next: null }
      }
      const messageId = idFilter('msg', filters.message)
      const found = await listDeliveries(
        pool,
        {
          ...(ownerId !== undefined && { ownerId }),
          ...(endpointId !== undefined && { endpointId }),
          ...(messageId !== undefined && { messageId }),
          ...(filters.eventType !== undefined && { eventType: filters.eventType }),
          ...(filters.state !== undefined && { state: filters.state }),
          ...(filters.after !== undefined && { after: givenTime(filters.after, '/after') }),
          ...(filters.before !== undefined && { before: givenTime(filters.before, '/before') }),
        },
        { limit, ...(position !== undefined && { cursor: position }) },
      )
      return { data: found.items.map(toDelivery), next: nextOf(list, filters, found.next) }
    },
  )

  app.get(
    '/deliveries/:delivery',
    {
      config: { roles: ['read', 'owner'] },
      schema: {
        summary: 'Get a delivery',
        operationId: 'getDelivery',
        tags,
        security: bearer,
        params,
        response: { 200: Delivery, ...problemResponses('not_found') },
      },
    },
    async (request) => {
      const found = await findDelivery(pool, deliveryId(request.params.delivery), scopeOf(request))
      if (found === undefined) throw notFound()
      return toDelivery(found)
    },
  )

  app.get(
    '/deliveries/:delivery/attempts',
    {
      config: { roles: ['read', 'owner'] },
      schema: {
        summary: 'List the attempts of a delivery, first to last',
        operationId: 'listAttempts',
        tags,
        security: bearer,
        params,
        querystring: PageQuery,
        response: {
          200: List(Attempt),
          ...problemResponses('not_found', 'invalid_cursor', 'validation_failed', 'unknown_field'),
        },
      },
    },
    async (request) => {
      const { limit = LIST_LIMIT_DEFAULT, cursor } = request.query
      const id = deliveryId(request.params.delivery)
      const list = `attempts of ${id}`
      const position =
        cursor === undefined ? undefined : Number(decodeCursor(list, {}, cursor, NUMBER_POSITION))
      if ((await findDelivery(pool, id, scopeOf(request))) === undefined) throw notFound()
      const found = await listAttempts(pool, id, {
        limit: limit + 1,
        ...(position !== undefined && { cursor: position }),
      })
      const page = pageOf(found, limit, list, {}, ({ number }) => String(number))
      return { data: page.items.map((attempt) => toAttempt(id, attempt)), next: page.next }
    },
  )

  app.post(
    '/deliveries/:delivery/retry',
    {
      config: { roles: ['owner'] },
      schema: {
        summary: 'Send again now',
        description:
          'Whatever became of the delivery: its next attempt is due at once. Its attempts go on counting.',
        operationId: 'retryDelivery',
        tags,
        security: bearer,
        params,
        response: {
          202: Delivery,
          ...problemResponses(
            'not_found',
            'endpoint_deleted',
            'endpoint_disabled',
            'message_expunged',
            'attempt_under_way',
          ),
        },
      },
    },
    async (request, reply) => {
      const id = deliveryId(request.params.delivery)
      const result = await retryDelivery({ pool, queue, logger }, id, scopeOf(request))
      switch (result.kind) {
        case 'due':
          request.change = {
            resource: 'delivery',
            id: encodeId('dlv', id),
            ownerId: result.delivery.ownerId,
          }
          return reply.code(202).send(toDelivery(result.delivery))
        case 'unknown':
          throw notFound()
        case 'endpoint-deleted':
          throw new ProblemError(
            'endpoint_deleted',
            'Its endpoint was deleted. Emit the event again for the endpoints that there are now.',
          )
        case 'endpoint-disabled': {
          const path = `/v1/owners/${encodeId('own', result.ownerId)}/endpoints/${encodeId('ep', result.endpointId)}`
          throw new ProblemError(
            'endpoint_disabled',
            `Its endpoint is disabled. Enable it with PATCH ${path} {"enabled": true}, then retry.`,
          )
        }
        case 'message-expunged':
          throw new ProblemError(
            'message_expunged',
            'The payload of its message was expunged: there is nothing to send any more. Emit the event anew.',
          )
        case 'attempt-under-way':
          throw new ProblemError(
            'attempt_under_way',
            'An attempt is being made right now. Look at its result first.',
          )
      }
    },
  )
}

/** @throws {ProblemError} `not_found`, the same for a text that is no id as for one that is missing */
function deliveryId(text: string): string {
  const id = decodeId('dlv', text)
  if (id === undefined) throw notFound()
  return id
}

function notFound(): ProblemError {
  return new ProblemError('not_found', 'There is no such delivery. GET /v1/deliveries lists them.')
}

function toDelivery(record: DeliveryRecord): Delivery {
  return {
    id: encodeId('dlv', record.id),
    message: encodeId('msg', record.messageId),
    endpoint: encodeId('ep', record.endpointId),
    owner: encodeId('own', record.ownerId),
    eventType: record.eventType,
    state: record.state,
    attempts: record.attempts,
    dueAt: record.dueAt?.toISOString() ?? null,
    endedAt: record.endedAt?.toISOString() ?? null,
    createdAt: new Date(uuidTimeMs(record.id) ?? 0).toISOString(),
  }
}

function toAttempt(deliveryUuid: string, record: AttemptRecord): Attempt {
  return {
    id: encodeId('att', attemptUuid(deliveryUuid, record.number)),
    number: record.number,
    startedAt: record.startedAt.toISOString(),
    durationMs: Math.round(record.durationMs),
    outcome: record.outcome,
    status: record.status,
    detail: record.detail,
    timings: timingsOf(record),
    responseHeaders: record.responseHeaders,
    ...responseText(record),
    responseBodyTruncated: record.responseBodyTruncated,
  }
}

function timingsOf({ dnsMs, connectMs, tlsMs, firstByteMs, durationMs }: AttemptRecord): Attempt['timings'] {
  const parts = Object.entries({ dnsMs, connectMs, tlsMs, firstByteMs })
  const measured = parts.filter((part): part is [string, number] => part[1] !== null)
  return { ...Object.fromEntries(measured), totalMs: durationMs }
}

function responseText({
  responseBody,
  responseBodyTruncated,
}: AttemptRecord): Pick<Attempt, 'responseBody' | 'responseBodyBase64'> {
  if (responseBody === null) return { responseBody: null }
  try {
    // Where it was cut, half a character at the end is no fault of the text: `stream` leaves it out.
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    return { responseBody: decoder.decode(responseBody, { stream: responseBodyTruncated }) }
  } catch {
    return {
      responseBody: responseBody.toString('utf8'),
      responseBodyBase64: responseBody.toString('base64'),
    }
  }
}

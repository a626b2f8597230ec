import {
  EventType,
  EventTypeChange,
  isEventType,
  isOperationalEventType,
  LIST_LIMIT_DEFAULT,
  List,
  NewEventType,
  PageQuery,
} from '@posthorn/contracts'
import {
  createEventType,
  deleteEventType,
  type EventTypeRecord,
  findEventType,
  listEventTypes,
  updateEventType,
} from '@posthorn/store'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import type { Change } from '../audit.ts'
import { decodeCursor, pageOf } from '../cursor.ts'
import { ProblemError } from '../problem-details.ts'
import { bearer, bodyProblems, problemResponses } from '../route-schema.ts'

const tags = ['Event types']
const params = Type.Object({ name: Type.String({ description: 'Name of the event type.' }) })

/** Any that could be a name: the list goes on after it. */
const EVENT_TYPE_POSITION = /^[\w.]{1,128}$/

/** The catalogue of events that may be emitted. */
export function registerEventTypes(app: Api, { store }: ApiContext): void {
  const { prisma } = store

  app.post(
    '/event-types',
    {
      schema: {
        summary: 'Add an event type to the catalogue',
        operationId: 'createEventType',
        tags,
        security: bearer,
        body: NewEventType,
        response: {
          201: EventType,
          ...problemResponses(
            ...bodyProblems,
            'invalid_event_type',
            'reserved_event_type',
            'event_type_taken',
          ),
        },
      },
    },
    async (request, reply) => {
      refuseReserved(request.body.name)
      const result = await createEventType(prisma, request.body)
      if (result.kind === 'name-taken') {
        throw new ProblemError(
          'event_type_taken',
          `${request.body.name} is in the catalogue already. Change it with PATCH /v1/event-types/${request.body.name}.`,
        )
      }
      request.change = changeOf(request.body.name)
      return reply.code(201).send(toEventType(result.eventType))
    },
  )

  app.get(
    '/event-types',
    {
      config: { roles: ['read'] },
      schema: {
        summary: 'List event types, by name',
        operationId: 'listEventTypes',
        tags,
        security: bearer,
        querystring: PageQuery,
        response: {
          200: List(EventType),
          ...problemResponses('invalid_cursor', 'validation_failed', 'unknown_field'),
        },
      },
    },
    async ({ query: { limit = LIST_LIMIT_DEFAULT, cursor } }) => {
      const list = 'event-types'
      const found = await listEventTypes(prisma, {
        limit: limit + 1,
        ...(cursor !== undefined && { cursor: decodeCursor(list, {}, cursor, EVENT_TYPE_POSITION) }),
      })
      const page = pageOf(found, limit, list, {}, ({ name }) => name)
      return { data: page.items.map(toEventType), next: page.next }
    },
  )

  app.get(
    '/event-types/:name',
    {
      config: { roles: ['read'] },
      schema: {
        summary: 'Get an event type',
        operationId: 'getEventType',
        tags,
        security: bearer,
        params,
        response: { 200: EventType, ...problemResponses('not_found') },
      },
    },
    async ({ params: { name } }) => {
      const eventType = isEventType(name) ? await findEventType(prisma, name) : undefined
      if (eventType === undefined) throw notFound()
      return toEventType(eventType)
    },
  )

  app.patch(
    '/event-types/:name',
    {
      schema: {
        summary: 'Change an event type',
        operationId: 'updateEventType',
        tags,
        security: bearer,
        params,
        body: EventTypeChange,
        response: {
          200: EventType,
          ...problemResponses(...bodyProblems, 'not_found', 'reserved_event_type'),
        },
      },
    },
    async (request) => {
      const { name } = request.params
      refuseReserved(name)
      const eventType = isEventType(name) ? await updateEventType(prisma, name, request.body) : undefined
      if (eventType === undefined) throw notFound()
      request.change = changeOf(name)
      return toEventType(eventType)
    },
  )

  app.delete(
    '/event-types/:name',
    {
      schema: {
        summary: 'Take an event type out of the catalogue',
        operationId: 'deleteEventType',
        tags,
        security: bearer,
        params,
        response: {
          204: Type.Null({ description: 'It is deleted.' }),
          ...problemResponses('not_found', 'reserved_event_type', 'event_type_in_use'),
        },
      },
    },
    async (request, reply) => {
      const { name } = request.params
      refuseReserved(name)
      const result = isEventType(name) ? await deleteEventType(prisma, name) : { kind: 'unknown' as const }
      if (result.kind === 'unknown') throw notFound()
      if (result.kind === 'in-use') {
        throw new ProblemError(
          'event_type_in_use',
          `${result.endpoints} endpoints subscribe to ${name}. Take it out of their eventTypes first.`,
        )
      }
      request.change = changeOf(name)
      return reply.code(204).send(null)
    },
  )
}

function changeOf(name: string): Change {
  return { resource: 'event-type', id: name, ownerId: null }
}

function notFound(): ProblemError {
  return new ProblemError('not_found', 'There is no such event type. GET /v1/event-types lists them.')
}

function refuseReserved(name: string): void {
  if (!isOperationalEventType(name)) return
  throw new ProblemError(
    'reserved_event_type',
    `${name} is emitted by Posthorn itself, and stays as it is. Subscribe to it with the eventTypes of an endpoint, and choose another name for an event of your own.`,
  )
}

function toEventType({ name, description, createdAt, updatedAt }: EventTypeRecord): EventType {
  return {
    name,
    description,
    operational: isOperationalEventType(name),
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  }
}

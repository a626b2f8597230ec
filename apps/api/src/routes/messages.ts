import {
  AcceptedMessage,
  BATCH_MESSAGES_MAX,
  decodeId,
  EventTypeName,
  ExpungeResult,
  Expunging,
  encodeId,
  GivenTime,
  isIdempotencyKey,
  LIST_LIMIT_DEFAULT,
  List,
  Message,
  MessageBatch,
  MessageBatchResults,
  MessageWithPayload,
  NewMessage,
  type Problem,
  pageMembers,
  Reference,
  uuidTimeMs,
} from '@posthorn/contracts'
import {
  type AcceptResult,
  type Admission,
  type EmittedEvent,
  expungePayloads,
  type OverloadReason,
} from '@posthorn/dispatch'
import {
  expungeMessage,
  findMessage,
  listMessages,
  type MessageRecord,
  type MessageSummary,
} from '@posthorn/store'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import { decodeCursor, nextOf } from '../cursor.ts'
import { createEventTypeHint } from '../event-type-hint.ts'
import { givenTime } from '../given-times.ts'
import { faultProblem } from '../json-body.ts'
import type { FoundData } from '../json-members.ts'
import { scopeOf } from '../principal.ts'
import { ProblemError, problemOf } from '../problem-details.ts'
import { bearer, bodyProblems, problemResponses } from '../route-schema.ts'
import { compileValidate } from '../validation.ts'
import { ownerFilter } from './filters.ts'

const tags = ['Messages']

const BATCH_BYTES_MAX = 4 * 1024 * 1024

const emitProblems = [
  ...bodyProblems,
  'invalid_event_type',
  'unknown_event_type',
  'reserved_event_type',
  'unknown_owner',
  'invalid_idempotency_key',
  'idempotency_conflict',
  'id_out_of_range',
] as const

/** After so many a request is answered, for the next one to go on. */
const EXPUNGED_MAX = 5_000
const EXPUNGE_MS = 10_000

const ListQuery = Type.Object(
  {
    ...pageMembers,
    owner: Type.Optional(Reference('Only of this owner: id or uid.')),
    eventType: Type.Optional(EventTypeName),
    after: Type.Optional(GivenTime('Only those accepted then or later.')),
    before: Type.Optional(GivenTime('Only those accepted earlier.')),
  },
  { additionalProperties: false },
)

/** Events as they were emitted, one owner each. */
export function registerMessages(app: Api, context: ApiContext): void {
  const { store, accept, admission, settings } = context
  const validateItem = compileValidate(NewMessage)
  // Before the body is read: under overload, refusing has to cost less than accepting.
  const refuseWhenOverloaded = async () => {
    const decided = admission.admit()
    if (decided.kind !== 'admitted') throw notAdmitted(decided)
  }

  app.post(
    '/messages',
    {
      bodyLimit: settings.payloadBytesMax,
      config: { members: 'data', roles: ['emit'] },
      onRequest: refuseWhenOverloaded,
      schema: {
        summary: 'Emit an event',
        description:
          'Answered once it is durable, with its deliveries. Emitting again under the same id, or the same Idempotency-Key header, gives the same message and the same answer.',
        operationId: 'emitMessage',
        tags,
        security: bearer,
        headers: Type.Object({
          'idempotency-key': Type.Optional(
            Type.String({ description: 'Your own key for the event; 1 to 255 visible ASCII characters.' }),
          ),
        }),
        body: NewMessage,
        response: {
          202: AcceptedMessage,
          ...problemResponses(...emitProblems, 'owner_over_share', 'overloaded'),
        },
      },
    },
    async (request, reply) => {
      const key = idempotencyKey(request.headers['idempotency-key'], request.body)
      const event = toEvent(request.body, request.jsonMembers!)
      if (key !== undefined) event.idempotencyKey = key
      const decided = admission.admit(event.owner)
      if (decided.kind !== 'admitted') throw notAdmitted(decided)
      const result = await accept.accept(event)
      if (result.kind !== 'accepted') {
        const problem = refusal(result, event, await hintFor(context, [result]))
        throw new ProblemError(problem.code as Parameters<typeof problemOf>[0], problem.detail)
      }
      if (result.again) reply.header('idempotent-replayed', 'true')
      return reply.code(202).send(toAccepted(result))
    },
  )

  app.post(
    '/messages/batch',
    {
      bodyLimit: Math.max(BATCH_BYTES_MAX, settings.payloadBytesMax + 64 * 1024),
      config: { members: 'messages[].data', roles: ['emit'] },
      onRequest: refuseWhenOverloaded,
      schema: {
        summary: `Emit up to ${BATCH_MESSAGES_MAX} events`,
        description:
          'Each has its own result, in their order: one that is refused does not keep the others from being accepted. Give each an id, and the request can be repeated.',
        operationId: 'emitMessages',
        tags,
        security: bearer,
        body: MessageBatch,
        response: {
          200: MessageBatchResults,
          ...problemResponses(...bodyProblems, 'batch_too_large', 'overloaded'),
        },
      },
    },
    async ({ body, jsonMembers, headers }, reply) => {
      if (headers['idempotency-key'] !== undefined) {
        throw new ProblemError(
          'invalid_idempotency_key',
          'A batch takes no Idempotency-Key header. Give each message its own id instead.',
        )
      }
      const emitted = body.messages.map((message, at) => readItem(message, jsonMembers?.messages?.[at] ?? {}))
      const refused: (ProblemError | undefined)[] = []
      // All at once: they share a commit. Where the database cannot be asked, the whole batch is answered so.
      const results = await Promise.all(
        emitted.map(({ event }, at) => {
          if (event === undefined) return undefined
          const decided = admission.admit(event.owner)
          if (decided.kind === 'admitted') return accept.accept(event)
          refused[at] = notAdmitted(decided)
          return undefined
        }),
      )
      const retryAfter = refused.find((error) => error !== undefined)?.headers['retry-after']
      if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
      const explain = await hintFor(context, results)
      return {
        data: results.map((result, at) => {
          const { event, problem } = emitted[at]!
          if (result?.kind === 'accepted') return { status: 202, message: toAccepted(result) }
          const error = problem ?? refused[at]?.problem ?? refusal(result!, event!, explain)
          return { status: error.status, error }
        }),
      }
    },
  )

  app.get(
    '/messages',
    {
      config: { roles: ['read', 'owner'] },
      schema: {
        summary: 'List messages, newest first, without their payloads',
        operationId: 'listMessages',
        tags,
        security: bearer,
        querystring: ListQuery,
        response: {
          200: List(Message),
          ...problemResponses('invalid_cursor', 'validation_failed', 'unknown_field', 'unknown_owner'),
        },
      },
    },
    async (request) => {
      const { limit = LIST_LIMIT_DEFAULT, cursor, ...filters } = request.query
      const list = 'messages'
      const position = cursor === undefined ? undefined : decodeCursor(list, filters, cursor)
      const ownerId = await ownerFilter(store.prisma, filters.owner, scopeOf(request))
      const found = await listMessages(
        store.pool,
        {
          ...(ownerId !== undefined && { ownerId }),
          ...(filters.eventType !== undefined && { eventType: filters.eventType }),
          ...(filters.after !== undefined && { after: givenTime(filters.after, '/after') }),
          ...(filters.before !== undefined && { before: givenTime(filters.before, '/before') }),
        },
        { limit, ...(position !== undefined && { cursor: position }) },
      )
      return { data: found.items.map(toMessage), next: nextOf(list, filters, found.next) }
    },
  )

  app.get(
    '/messages/:message',
    {
      config: { roles: ['read', 'owner'] },
      schema: {
        summary: 'Get a message with its payload',
        operationId: 'getMessage',
        tags,
        security: bearer,
        params: Type.Object({ message: Type.String({ description: 'Id of the message.' }) }),
        response: { 200: MessageWithPayload, ...problemResponses('not_found') },
      },
    },
    async (request, reply) => {
      const found = await requireMessage(request.params.message, scopeOf(request))
      // The payload goes out as it is stored and was sent: parsing it would round its numbers.
      const head = JSON.stringify(toMessage(found)).slice(0, -1)
      const payload = found.expungedAt === null ? found.payload : Buffer.from('null')
      const body = Buffer.concat([Buffer.from(`${head},"payload":`), payload, Buffer.from('}')])
      return reply.type('application/json; charset=utf-8').send(body as never)
    },
  )

  app.post(
    '/messages/:message/expunge',
    {
      schema: {
        summary: 'Take away the payload of a message',
        description:
          'And what receivers answered to it. The record that it was sent stays; deliveries that are pending end as cancelled. It cannot be undone. Doing it again changes nothing.',
        operationId: 'expungeMessage',
        tags,
        security: bearer,
        params: Type.Object({ message: Type.String({ description: 'Id of the message.' }) }),
        response: { 200: Message, ...problemResponses('not_found') },
      },
    },
    async (request) => {
      const { message } = request.params
      const { id, ownerId } = await requireMessage(message)
      await expungeMessage(store.pool, id)
      request.change = { resource: 'message', id: encodeId('msg', id), ownerId }
      return toMessage(await requireMessage(message))
    },
  )

  app.post(
    '/messages/expunge',
    {
      schema: {
        summary: 'Take away the payloads of an owner, or of a time',
        description:
          'As of each message by itself. Some thousands a request: where the answer has "done": false, send it again.',
        operationId: 'expungeMessages',
        tags,
        security: bearer,
        body: Expunging,
        response: { 200: ExpungeResult, ...problemResponses(...bodyProblems, 'unknown_owner') },
      },
    },
    async (request) => {
      const { owner, before } = request.body
      const ownerId = await ownerFilter(store.prisma, owner)
      const scope = {
        ...(ownerId !== undefined && { ownerId }),
        ...(before !== undefined && { before: givenTime(before, '/before') }),
      }
      const until = performance.now() + EXPUNGE_MS
      const { messages, cancelled, position } = await expungePayloads({ pool: store.pool }, scope, {
        goOn: (soFar) => soFar.messages < EXPUNGED_MAX && performance.now() < until,
      })
      request.change = { resource: 'message', id: null, ownerId: ownerId ?? null }
      return { messages, cancelled, done: position === null }
    },
  )

  /** @throws {ProblemError} `not_found`, the same for a text that is no id as for one that is missing */
  async function requireMessage(text: string, scope?: string): Promise<MessageRecord> {
    const id = decodeId('msg', text)
    const found = id === undefined ? undefined : await findMessage(store.pool, id, scope)
    if (found !== undefined) return found
    throw new ProblemError('not_found', 'There is no such message. GET /v1/messages lists them.')
  }

  /** An item of a batch as an event, or why it is none. */
  function readItem(
    message: unknown,
    found: FoundData,
  ): { event: EmittedEvent; problem?: never } | { event?: never; problem: Problem } {
    try {
      const invalid = found.fault === undefined ? validateItem(message) : faultProblem(found.fault)
      if (invalid !== undefined) return { problem: invalid.problem }
      const event = toEvent(message as NewMessage, found)
      if (event.data.length > settings.payloadBytesMax) {
        const detail = `The data may have at most ${settings.payloadBytesMax} bytes. Send less, or a link to it.`
        return { problem: problemOf('payload_too_large', detail) }
      }
      return { event }
    } catch (error) {
      if (error instanceof ProblemError) return { problem: error.problem }
      throw error
    }
  }
}

function toEvent({ owner, type, id, timestamp }: NewMessage, { data }: FoundData): EmittedEvent {
  return {
    owner,
    type,
    data: data!,
    ...(id !== undefined && { id }),
    ...(timestamp !== undefined && { timestamp: givenTime(timestamp, '/timestamp') }),
  }
}

function idempotencyKey(header: string | string[] | undefined, { id }: NewMessage): string | undefined {
  if (header === undefined) return undefined
  if (id !== undefined) {
    throw new ProblemError(
      'invalid_idempotency_key',
      'The message has both an id and an Idempotency-Key header. Give one of them.',
    )
  }
  if (typeof header === 'string' && isIdempotencyKey(header)) return header
  throw new ProblemError(
    'invalid_idempotency_key',
    'The header Idempotency-Key must be 1 to 255 visible ASCII characters, without spaces.',
  )
}

function notAdmitted(decided: Exclude<Admission, { kind: 'admitted' }>): ProblemError {
  const seconds = Math.ceil(decided.retryAfterMs / 1_000)
  const again = `Emit it again in ${seconds} seconds, under the same id or Idempotency-Key: then it is not doubled.`
  const headers = { 'retry-after': String(seconds) }
  return decided.kind === 'owner-over-share'
    ? new ProblemError(
        'owner_over_share',
        `Workers are behind, and of what is due more than one owner's share is this owner's. ${again}`,
        { headers },
      )
    : new ProblemError(
        'overloaded',
        `More is under way than can be taken (${overloadReasons[decided.reason]}). ${again}`,
        { headers },
      )
}

const overloadReasons: Record<OverloadReason, string> = {
  'waiting-emits': 'emits wait for their commit',
  'database-connections': 'the connections to the database are taken',
  'event-loop': 'this process is busy',
  backlog: 'too many deliveries are due',
}

type Refused = Exclude<AcceptResult, { kind: 'accepted' }>

/** The hint is loaded only where an event type was not known. */
async function hintFor(
  { store }: ApiContext,
  results: readonly (AcceptResult | undefined)[],
): Promise<(unknown: string) => string> {
  const needed = results.some((result) => result?.kind === 'unknown-event-type')
  return needed ? await createEventTypeHint(store.pool, 'emit') : () => ''
}

function refusal(result: Refused, event: EmittedEvent, explain: (eventType: string) => string): Problem {
  switch (result.kind) {
    case 'conflict':
      return problemOf(
        'idempotency_conflict',
        `Under this key another event was emitted as ${encodeId('msg', result.messageId)}. Give each event a key of its own, and the same body when you repeat it.`,
      )
    case 'id-out-of-range':
      return problemOf(
        'id_out_of_range',
        'A msg_ id carries its time, which may be at most a day off the clock here. Make the id when you emit, or give an id of your own.',
      )
    case 'unknown-owner':
      return problemOf(
        'unknown_owner',
        `There is no owner ${event.owner}. Make it with POST /v1/owners, or check the spelling.`,
      )
    case 'unknown-event-type':
      return problemOf('unknown_event_type', explain(event.type))
    case 'reserved-event-type':
      return problemOf(
        'reserved_event_type',
        `${event.type} is emitted by Posthorn itself. Choose another name for an event of your own.`,
      )
  }
}

function toAccepted({ message }: Extract<AcceptResult, { kind: 'accepted' }>): AcceptedMessage {
  return {
    id: encodeId('msg', message.id),
    owner: encodeId('own', message.ownerId),
    type: message.eventType,
    timestamp: message.timestamp.toISOString(),
    deliveries: message.deliveries,
  }
}

function toMessage(record: MessageSummary): Message {
  return {
    id: encodeId('msg', record.id),
    owner: encodeId('own', record.ownerId),
    type: record.eventType,
    timestamp: record.timestamp.toISOString(),
    deliveries: record.deliveries,
    createdAt: new Date(uuidTimeMs(record.id) ?? 0).toISOString(),
    expungedAt: record.expungedAt?.toISOString() ?? null,
  }
}

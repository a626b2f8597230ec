import { type Static, Type } from 'typebox'
import { EventTypeName } from './event-type.ts'
import { IDEMPOTENCY_KEY_PATTERN, PublicId, Reference } from './identifiers.ts'
import { Problem } from './problem.ts'
import { GivenTime, Time } from './text.ts'

export const BATCH_MESSAGES_MAX = 1_000

export const NewMessage = Type.Object(
  {
    owner: Reference('Whose endpoints get the event: id or uid of the owner.'),
    type: EventTypeName,
    data: Type.Unknown({
      description:
        'What happened: any JSON value. Its bytes are kept as given, without insignificant white space.',
      examples: [{ order_num: '1001', email: 'buyer@example.com' }],
    }),
    id: Type.Optional(
      Type.String({
        pattern: IDEMPOTENCY_KEY_PATTERN,
        description:
          'Your own id for the event, or a msg_ id that you made. Emitting again under it does not double the event.',
        'x-expected': 'be 1 to 255 visible ASCII characters, without spaces',
      }),
    ),
    timestamp: Type.Optional(GivenTime('When it happened. Default: when it is accepted.')),
  },
  { title: 'NewMessage', additionalProperties: false },
)
export type NewMessage = Static<typeof NewMessage>

/** A message as the answer to its emission. */
export const AcceptedMessage = Type.Object(
  {
    id: PublicId('msg', 'Id of the message; receivers see it as webhook-id.'),
    owner: PublicId('own', 'Id of the owner.'),
    type: Type.String({ description: 'Its event type.' }),
    timestamp: Time('When it happened.'),
    deliveries: Type.Integer({ description: 'How many endpoints will get it.' }),
  },
  { title: 'AcceptedMessage', additionalProperties: false },
)
export type AcceptedMessage = Static<typeof AcceptedMessage>

/** What was sent, without its payload. */
export const Message = Type.Object(
  {
    ...AcceptedMessage.properties,
    createdAt: Time('When it was accepted.'),
    expungedAt: Type.Union([Time('When its payload was taken away.'), Type.Null()]),
  },
  { title: 'Message', additionalProperties: false },
)
export type Message = Static<typeof Message>

export const MessageWithPayload = Type.Object(
  {
    ...Message.properties,
    payload: Type.Unknown({
      description: 'The body as it is signed and sent: type, timestamp and data. Null once it was expunged.',
    }),
  },
  { title: 'MessageWithPayload', additionalProperties: false },
)

export const Expunging = Type.Object(
  {
    owner: Type.Optional(Reference('Of this owner: id or uid; of one that was deleted, its id.')),
    before: Type.Optional(GivenTime('Those accepted earlier.')),
  },
  {
    title: 'Expunging',
    additionalProperties: false,
    minProperties: 1,
    description: 'Which payloads: of one owner, of a time, or both.',
    'x-expected': 'have owner, before, or both',
  },
)

export const ExpungeResult = Type.Object(
  {
    messages: Type.Integer({ description: 'How many payloads were taken away by this request.' }),
    cancelled: Type.Integer({ description: 'Pending deliveries that ended with them.' }),
    done: Type.Boolean({ description: 'False: there may be more. Send the request again.' }),
  },
  { title: 'ExpungeResult', additionalProperties: false },
)

export const MessageBatch = Type.Object(
  {
    // Each is judged by itself as a NewMessage, so that one that is wrong does not spoil the others.
    messages: Type.Array(Type.Unknown(), {
      minItems: 1,
      maxItems: BATCH_MESSAGES_MAX,
      description: 'Messages, each as POST /v1/messages takes it.',
      'x-expected': `be a list of 1 to ${BATCH_MESSAGES_MAX} messages`,
      'x-problem-code': { maxItems: 'batch_too_large' },
    }),
  },
  { title: 'MessageBatch', additionalProperties: false },
)
export type MessageBatch = Static<typeof MessageBatch>

export const MessageBatchResults = Type.Object(
  {
    data: Type.Array(
      Type.Object(
        {
          status: Type.Integer({ description: 'As the message would have been answered alone.' }),
          message: Type.Optional(AcceptedMessage),
          error: Type.Optional(Problem),
        },
        { additionalProperties: false },
      ),
      { description: 'One result a message, in their order.' },
    ),
  },
  { title: 'MessageBatchResults', additionalProperties: false },
)
export type MessageBatchResults = Static<typeof MessageBatchResults>

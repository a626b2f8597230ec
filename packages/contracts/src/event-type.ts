import { type Static, Type } from 'typebox'
import { Lines, Time } from './text.ts'

const PATTERN = '^[a-zA-Z0-9_]+(\\.[a-zA-Z0-9_]+)*$'
const LENGTH_MAX = 128

/** Full-stop-delimited groups of `[a-zA-Z0-9_]`, at most 128 characters. Safe to write into JSON unescaped. */
export const EventTypeName = Type.String({
  maxLength: LENGTH_MAX,
  pattern: PATTERN,
  description: 'Name of an event type.',
  examples: ['pay_info.paid'],
  'x-expected':
    'be groups of a-z A-Z 0-9 _ with a full stop between them, at most 128 characters, such as pay_info.paid',
  'x-problem-code': 'invalid_event_type',
})

const NAME = new RegExp(PATTERN)

/** Is this text well formed as the name of an event type? */
export function isEventType(text: string): boolean {
  return text.length <= LENGTH_MAX && NAME.test(text)
}

const Description = Lines(2_000, 'What happened when this event is emitted, for subscribers to read.')

export const EventType = Type.Object(
  {
    name: EventTypeName,
    description: Type.Union([Type.String(), Type.Null()]),
    operational: Type.Boolean({
      description:
        'True: it is emitted by Posthorn itself, about endpoints and deliveries, and by nobody else.',
    }),
    createdAt: Time('When it was made.'),
    updatedAt: Time('When it was last changed.'),
  },
  { title: 'EventType', additionalProperties: false },
)
export type EventType = Static<typeof EventType>

export const NewEventType = Type.Object(
  { name: EventTypeName, description: Type.Optional(Type.Union([Description, Type.Null()])) },
  { title: 'NewEventType', additionalProperties: false },
)
export type NewEventType = Static<typeof NewEventType>

export const EventTypeChange = Type.Object(
  { description: Type.Optional(Type.Union([Description, Type.Null()])) },
  { title: 'EventTypeChange', additionalProperties: false },
)
export type EventTypeChange = Static<typeof EventTypeChange>

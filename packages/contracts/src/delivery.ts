import { type Static, Type } from 'typebox'
import { PublicId } from './identifiers.ts'
import { Time } from './text.ts'

export const DELIVERY_STATES = ['pending', 'delivered', 'dead', 'cancelled', 'skipped'] as const

const STATES_DESCRIPTION =
  'pending: attempts are to come. delivered: an attempt was answered with 2xx. dead: every attempt failed. cancelled: its endpoint was deleted. skipped: its endpoint was disabled.'

export const DeliveryState = Type.Enum([...DELIVERY_STATES], {
  description: STATES_DESCRIPTION,
  'x-expected': `be one of ${DELIVERY_STATES.join(', ')}`,
})

export const Delivery = Type.Object(
  {
    id: PublicId('dlv', 'Id of the delivery.'),
    message: PublicId('msg', 'Id of its message.'),
    endpoint: PublicId('ep', 'Id of its endpoint.'),
    owner: PublicId('own', 'Id of the owner.'),
    eventType: Type.String(),
    state: Type.String({ enum: [...DELIVERY_STATES], description: STATES_DESCRIPTION }),
    attempts: Type.Integer({ description: 'Attempts made so far.' }),
    dueAt: Type.Union([Time('When the next attempt may be made; null once it ended.'), Type.Null()]),
    endedAt: Type.Union([Time('When it ended.'), Type.Null()]),
    createdAt: Time('When its message was accepted, also where a replay made it.'),
  },
  { title: 'Delivery', additionalProperties: false },
)
export type Delivery = Static<typeof Delivery>

import { type Static, type TObject, Type } from 'typebox'
import { PublicId } from './identifiers.ts'
import { Time } from './text.ts'

/**
 * The uid of the owner that stands for the platform: its endpoints get the operational events of all
 * owners. Those of any other owner get its own.
 */
export const PLATFORM_OWNER_UID = 'posthorn'

const UidOrNull = Type.Union([Type.String(), Type.Null()])

const about = {
  owner: Type.Object({ id: PublicId('own', 'Whose endpoint it is.'), uid: UidOrNull }),
  endpoint: Type.Object({
    id: PublicId('ep', 'Which endpoint.'),
    uid: UidOrNull,
    url: Type.String({ description: 'Without its query, which may hold a secret.' }),
  }),
}

const Turn = (since: string) =>
  Type.Object({
    ...about,
    reason: Type.String({ description: 'Why, for people to read.' }),
    since: Time(since),
  })

/**
 * The data of what Posthorn has to say of itself, by event type. These names are reserved: they are in
 * every catalogue, any endpoint may subscribe to them, and no application may emit them.
 */
export const operationalEvents = {
  'endpoint.disabled': Turn('When it was disabled.'),
  'endpoint.failing': Turn('The first attempt that failed since the last one that was delivered.'),
  'endpoint.recovered': Turn('Since when it is sent to again.'),
  'message.exhausted': Type.Object({
    ...about,
    message: PublicId('msg', 'Which message.'),
    eventType: Type.String({ description: 'Its event type.' }),
    delivery: PublicId('dlv', 'Which delivery of it.'),
    attempts: Type.Integer({ description: 'Attempts that were made.' }),
    lastAttempt: Type.Object({
      startedAt: Time('When it began.'),
      outcome: Type.String({ description: 'As in the attempts of the delivery.' }),
      status: Type.Union([Type.Integer(), Type.Null()], { description: 'Null where no answer came.' }),
    }),
  }),
} as const satisfies Record<string, TObject>

export type OperationalEventType = keyof typeof operationalEvents
export type OperationalEventData<T extends OperationalEventType> = Static<(typeof operationalEvents)[T]>

/** Is this the name of an event type that only Posthorn itself emits? */
export function isOperationalEventType(name: string): name is OperationalEventType {
  return Object.hasOwn(operationalEvents, name)
}

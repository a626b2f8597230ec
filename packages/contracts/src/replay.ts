import { type Static, Type } from 'typebox'
import { EventTypeName } from './event-type.ts'
import { PublicId } from './identifiers.ts'
import { GivenTime, Time } from './text.ts'

export const REPLAY_SELECTIONS = ['dead', 'skipped', 'all', 'missing'] as const
export const REPLAY_STATES = ['running', 'paused', 'done', 'cancelled'] as const
export const REPLAY_PER_SECOND_MAX = 10_000

const Selection = Type.Enum([...REPLAY_SELECTIONS], {
  description:
    'dead, skipped: deliveries in that state. all: those and the delivered ones. missing: messages of a type that the endpoint subscribes to which it never got, since it was made or subscribed later.',
  'x-expected': `be one of ${REPLAY_SELECTIONS.join(', ')}`,
})
const PerSecond = Type.Integer({
  minimum: 1,
  maximum: REPLAY_PER_SECOND_MAX,
  description: 'Deliveries that become due in one second at most. Default: 100.',
  'x-expected': `be a whole number from 1 to ${REPLAY_PER_SECOND_MAX}`,
})

export const NewReplay = Type.Object(
  {
    after: GivenTime('Only what was accepted then or later.'),
    before: Type.Optional(Type.Union([GivenTime('Only what was accepted earlier.'), Type.Null()])),
    state: Selection,
    eventTypes: Type.Optional(
      Type.Array(EventTypeName, {
        minItems: 1,
        maxItems: 100,
        uniqueItems: true,
        description: 'Only these event types. Default: all.',
        examples: [['pay_info.paid']],
      }),
    ),
    perSecond: Type.Optional(PerSecond),
    dryRun: Type.Optional(
      Type.Boolean({ description: 'True: nothing is sent, the answer says how many would be.' }),
    ),
  },
  { title: 'NewReplay', additionalProperties: false },
)
export type NewReplay = Static<typeof NewReplay>

export const Replay = Type.Object(
  {
    id: PublicId('rpl', 'Id of the replay.'),
    owner: PublicId('own', 'Id of the owner.'),
    endpoint: PublicId('ep', 'Id of the endpoint.'),
    request: Type.Object(
      {
        after: Time('Only what was accepted then or later.'),
        before: Type.Union([Time('Only what was accepted earlier.'), Type.Null()]),
        state: Type.String({ enum: [...REPLAY_SELECTIONS] }),
        eventTypes: Type.Union([Type.Array(Type.String()), Type.Null()]),
        perSecond: Type.Integer(),
      },
      { additionalProperties: false, description: 'What was asked for.' },
    ),
    state: Type.String({
      enum: [...REPLAY_STATES],
      description:
        'running: more is to come. paused: as running, once the endpoint is enabled. done: everything is due or sent. cancelled: by request, or its endpoint was deleted.',
    }),
    total: Type.Integer({ description: 'How many there were when it was asked for.' }),
    released: Type.Integer({ description: 'How many it has made due since.' }),
    error: Type.Union([
      Type.String({ description: 'Why the last try to go on failed; it tries again.' }),
      Type.Null(),
    ]),
    createdAt: Time('When it was asked for.'),
    endedAt: Type.Union([Time('When it was done or cancelled.'), Type.Null()]),
  },
  { title: 'Replay', additionalProperties: false },
)
export type Replay = Static<typeof Replay>

export const ReplayCount = Type.Object(
  {
    dryRun: Type.Literal(true),
    total: Type.Integer({ description: 'How many deliveries the replay would send now.' }),
  },
  { title: 'ReplayCount', additionalProperties: false },
)
export type ReplayCount = Static<typeof ReplayCount>

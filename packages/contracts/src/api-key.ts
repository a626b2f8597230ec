import { type Static, Type } from 'typebox'
import { PublicId, Reference } from './identifiers.ts'
import { ROLES, roleMeanings } from './role.ts'
import { GivenTime, Line, Time } from './text.ts'

const ROLES_DESCRIPTION = ROLES.map((role) => `${role}: ${roleMeanings[role]}.`).join(' ')

const Role = Type.Enum([...ROLES], {
  description: ROLES_DESCRIPTION,
  'x-expected': `be one of ${ROLES.join(', ')}`,
})

export const API_KEY_NAME_LENGTH_MAX = 200

/** A key without its text, which nothing can show again. */
export const ApiKey = Type.Object(
  {
    id: PublicId('key', 'Id of the key.'),
    name: Type.String(),
    role: Type.String({ enum: [...ROLES], description: ROLES_DESCRIPTION }),
    owner: Type.Union([PublicId('own', 'Whose things it is for.'), Type.Null()]),
    createdAt: Time('When it was made.'),
    expiresAt: Type.Union([Time('When it ends by itself.'), Type.Null()]),
    lastUsedAt: Type.Union([Time('When it was last used, to the minute.'), Type.Null()]),
    revokedAt: Type.Union([Time('When it was revoked.'), Type.Null()]),
  },
  { title: 'ApiKey', additionalProperties: false },
)
export type ApiKey = Static<typeof ApiKey>

export const CreatedApiKey = Type.Object(
  { ...ApiKey.properties, key: Type.String({ description: 'The key itself: in this answer only.' }) },
  { title: 'CreatedApiKey', additionalProperties: false },
)
export type CreatedApiKey = Static<typeof CreatedApiKey>

export const NewApiKey = Type.Object(
  {
    name: Line(API_KEY_NAME_LENGTH_MAX, 'What the key is for.'),
    role: Role,
    owner: Type.Optional(
      Type.Union([
        Reference('Id or uid of the owner: for the role owner only, which needs one.'),
        Type.Null(),
      ]),
    ),
    expiresAt: Type.Optional(
      Type.Union([GivenTime('When it ends by itself. Without it, when it is revoked.'), Type.Null()]),
    ),
  },
  { title: 'NewApiKey', additionalProperties: false },
)
export type NewApiKey = Static<typeof NewApiKey>

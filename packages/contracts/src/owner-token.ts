import { type Static, Type } from 'typebox'
import { PublicId } from './identifiers.ts'
import { Time } from './text.ts'

export const OWNER_TOKEN_SECONDS_DEFAULT = 3_600
export const OWNER_TOKEN_SECONDS_MAX = 86_400

export const NewOwnerToken = Type.Object(
  {
    expiresInS: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: OWNER_TOKEN_SECONDS_MAX,
        default: OWNER_TOKEN_SECONDS_DEFAULT,
        description: 'How long it is good, in seconds; a day at most.',
        'x-expected': `be a whole number of seconds from 1 to ${OWNER_TOKEN_SECONDS_MAX}`,
      }),
    ),
  },
  { title: 'NewOwnerToken', additionalProperties: false },
)
export type NewOwnerToken = Static<typeof NewOwnerToken>

export const OwnerToken = Type.Object(
  {
    id: PublicId('tok', 'Id of the token, by which the audit log names it.'),
    owner: PublicId('own', 'Whose things it is for.'),
    token: Type.String({
      description: 'The token itself, to be sent as an API key is: in this answer only.',
    }),
    expiresAt: Time('When it ends.'),
  },
  { title: 'OwnerToken', additionalProperties: false },
)
export type OwnerToken = Static<typeof OwnerToken>

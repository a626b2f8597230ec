import { type Static, Type } from 'typebox'
import { PublicId } from './identifiers.ts'
import { Time } from './text.ts'

export const ACTOR_KINDS = ['root', 'cli', 'key', 'token'] as const

export const AuditEntry = Type.Object(
  {
    id: PublicId('aud', 'Id of the entry.'),
    at: Time('When it was done.'),
    actor: Type.Object(
      {
        kind: Type.String({
          enum: [...ACTOR_KINDS],
          description:
            'root: the root key. cli: a command on a machine of the platform. key: an API key. token: an owner token.',
        }),
        id: Type.Union([Type.String({ description: 'Id of the key or token.' }), Type.Null()]),
        name: Type.Union([Type.String({ description: 'Name of the key.' }), Type.Null()]),
        owner: Type.Union([PublicId('own', 'Whose key or token it was.'), Type.Null()]),
      },
      { additionalProperties: false },
    ),
    address: Type.Union([Type.String({ description: 'Where the request came from.' }), Type.Null()]),
    method: Type.String(),
    route: Type.String({ description: 'Pattern of the path; of cli, the command.' }),
    owner: Type.Union([PublicId('own', 'Whose thing was changed.'), Type.Null()]),
    resource: Type.Object(
      {
        type: Type.String({ description: 'What kind of thing was changed.' }),
        id: Type.Union([Type.String({ description: 'Its id, or the name of an event type.' }), Type.Null()]),
      },
      { additionalProperties: false },
    ),
    members: Type.Array(Type.String(), {
      description: 'Members of the body that were given, by name and without their values.',
    }),
    status: Type.Union([Type.Integer({ description: 'Status of the answer.' }), Type.Null()]),
    requestId: Type.Union([Type.String({ description: 'Id of the request.' }), Type.Null()]),
  },
  { title: 'AuditEntry', additionalProperties: false },
)
export type AuditEntry = Static<typeof AuditEntry>

/** What `actor` of the audit log can be asked for. */
export const ActorReference = Type.String({
  pattern: '^(root|cli|(key|tok)_[0-7][0-9a-hjkmnp-tv-z]{25})$',
  description: 'Only by this actor: root, cli, or the id of a key or of an owner token.',
  'x-expected': 'be root, cli, or an id that begins with key_ or tok_',
})

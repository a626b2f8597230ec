import { type Static, Type } from 'typebox'
import { EventTypeName } from './event-type.ts'
import { PublicId, Uid } from './identifiers.ts'
import { RetryPolicy, RetryPolicyOrNull, RetrySchedule } from './retry-policy.ts'
import { Lines, Time } from './text.ts'

// Field values as in RFC 9110, in ASCII: no control character, so nothing can end the line.
const HeaderText = Type.String({
  pattern: '^([\\x21-\\x7e]([\\x20-\\x7e]{0,2046}[\\x21-\\x7e])?)?$',
  'x-expected':
    'be visible ASCII characters, at most 2,048, without spaces at the ends and without line ends',
  'x-problem-code': 'invalid_header',
})

const SecretHeader = Type.Object(
  {
    value: Type.Optional(HeaderText),
    secret: Type.Literal(true, { description: 'The value is kept encrypted, and is in no answer.' }),
  },
  {
    additionalProperties: false,
    description: 'A secret value. Without value, in a change: the one that is stored stays.',
  },
)

/** HTTP headers of the application's own, sent with each attempt. `refusedHeader` judges the names. */
const Headers = Type.Record(
  Type.String({ pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$" }),
  Type.Union([HeaderText, SecretHeader], {
    'x-expected': 'be a text, or {"value": "…", "secret": true}',
    'x-problem-code': 'invalid_header',
  }),
  {
    maxProperties: 32,
    // TypeBox writes a record as patternProperties: names that fit no pattern are refused by this.
    additionalProperties: false,
    description:
      'HTTP headers to send with each attempt beside the ones that Posthorn sets. {"value": "…", "secret": true} instead of a text: the value is never shown again.',
    examples: [{ 'x-tenant': 'acme' }],
    'x-names': 'header names',
  },
)

const FRAMING_OR_OURS = new Set([
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
])

/**
 * Why an endpoint may not have this header, or undefined if it may: it frames the request
 * (RFC 9110, RFC 9112), is meant for a proxy, or is set by Posthorn itself.
 */
export function refusedHeader(name: string): string | undefined {
  const lower = name.toLowerCase()
  if (lower.startsWith('webhook-')) return 'the webhook- headers carry the signature and are set by Posthorn'
  if (lower.startsWith('proxy-')) return 'it is meant for a proxy'
  if (FRAMING_OR_OURS.has(lower)) return 'it frames the request or is set by Posthorn'
  return undefined
}

const Url = Type.String({
  minLength: 1,
  maxLength: 2_048,
  description:
    'Where to send the events: https://… (or http://…), without credentials and without a fragment.',
  examples: ['https://example.com/webhooks'],
})
const EventTypes = Type.Array(EventTypeName, {
  minItems: 1,
  maxItems: 1_000,
  uniqueItems: true,
  description: 'Which events to send there. Each is in the catalogue.',
  examples: [['pay_info.paid']],
})
const Description = Lines(2_000, 'For people to read.')
const OwnUid = Uid("Your application's own name for the endpoint; one owner's are different from each other.")
const InFlightMax = Type.Integer({
  minimum: 1,
  maximum: 1_000,
  description: 'Attempts in flight to this endpoint at once. Null: as the platform is set.',
})
const AttemptTimeoutMs = Type.Integer({
  minimum: 100,
  maximum: 600_000,
  description:
    'How long one attempt may take, in milliseconds; shorter than the lease (POSTHORN_LEASE). Null: as the platform is set.',
})
const RateLimit = Type.Integer({
  minimum: 1,
  maximum: 10_000,
  description:
    'Deliveries a second to this endpoint, evenly spaced, by all workers together. Null: no limit.',
})
const Secret = Type.String({
  pattern: '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$',
  description: 'Signing secret: whsec_ and the base64 of 24 to 64 bytes. One is made if you give none.',
  'x-expected': 'be whsec_ and the base64 of 24 to 64 random bytes; leave it out to have one made',
  'x-problem-code': 'invalid_secret',
})

const Pem = (description: string) => Type.String({ minLength: 1, maxLength: 65_536, description })
const Tls = Type.Object(
  {
    ca: Type.Optional(Pem("Certificate authorities (PEM) in place of the system's.")),
    certificate: Type.Optional(
      Pem('The certificate that Posthorn shows (PEM), with those that lead to its authority after it.'),
    ),
    key: Type.Optional(Pem('Its private key (PEM, without a passphrase). No answer has it.')),
  },
  {
    additionalProperties: false,
    minProperties: 1,
    description:
      'What TLS connections to this endpoint have of their own. Given anew, it replaces all of it.',
  },
)

export const Endpoint = Type.Object(
  {
    id: PublicId('ep', 'Id of the endpoint.'),
    owner: PublicId('own', 'Id of its owner.'),
    uid: Type.Union([Type.String(), Type.Null()]),
    url: Type.String(),
    eventTypes: Type.Array(Type.String()),
    description: Type.Union([Type.String(), Type.Null()]),
    headers: Type.Record(
      Type.String(),
      Type.Union([
        Type.String(),
        Type.Object({ secret: Type.Literal(true) }, { additionalProperties: false }),
      ]),
      { description: 'Of one whose value is secret: {"secret": true}.' },
    ),
    enabled: Type.Boolean(),
    disabledAt: Type.Union([Time('When it was disabled.'), Type.Null()]),
    disabledReason: Type.Union([Type.String(), Type.Null()]),
    inFlightMax: Type.Union([Type.Integer(), Type.Null()]),
    attemptTimeoutMs: Type.Union([Type.Integer(), Type.Null()]),
    rateLimit: Type.Union([Type.Integer(), Type.Null()], {
      description: 'Deliveries a second. Null: no limit.',
    }),
    retryPolicy: Type.Union([RetryPolicy, Type.Null()], { description: 'Null: as the platform is set.' }),
    retrySchedule: RetrySchedule,
    tls: Type.Union(
      [
        Type.Object(
          {
            ca: Type.Union([Type.String(), Type.Null()]),
            certificate: Type.Union([Type.String(), Type.Null()]),
          },
          { additionalProperties: false },
        ),
        Type.Null(),
      ],
      { description: 'What its TLS connections have of their own, but for the key. Null: nothing.' },
    ),
    createdAt: Time('When it was made.'),
    updatedAt: Time('When it was last changed.'),
  },
  { title: 'Endpoint', additionalProperties: false },
)
export type Endpoint = Static<typeof Endpoint>

export const EndpointHealth = Type.Object(
  {
    state: Type.String({
      enum: ['closed', 'open', 'half_open'],
      description:
        'closed: deliveries are sent. open: none is, until blockedUntil; then one is sent to see. half_open: it was, or was taken, and the others follow.',
    }),
    since: Type.Union([Time('When this state began; null where it was never another.'), Type.Null()]),
    reason: Type.Union([Type.String({ description: 'Why it is not closed.' }), Type.Null()]),
    failingSince: Type.Union([
      Time('The first attempt that failed since the last one that was delivered.'),
      Type.Null(),
    ]),
    blockedUntil: Type.Union([Time('Until when nothing is sent, while it is open.'), Type.Null()]),
    waiting: Type.Integer({
      description: 'Deliveries that are pending for it. 10,000 stands for that many or more.',
    }),
  },
  { title: 'EndpointHealth', additionalProperties: false },
)
export type EndpointHealth = Static<typeof EndpointHealth>

export const EndpointWithHealth = Type.Object(
  { ...Endpoint.properties, health: EndpointHealth },
  { title: 'EndpointWithHealth', additionalProperties: false },
)
export type EndpointWithHealth = Static<typeof EndpointWithHealth>

export const CreatedEndpoint = Type.Object(
  {
    ...Endpoint.properties,
    secret: Type.String({ description: 'The signing secret: give it to whoever receives the events.' }),
  },
  { title: 'CreatedEndpoint', additionalProperties: false },
)
export type CreatedEndpoint = Static<typeof CreatedEndpoint>

const optionalMembers = {
  description: Type.Optional(Type.Union([Description, Type.Null()])),
  uid: Type.Optional(Type.Union([OwnUid, Type.Null()])),
  headers: Type.Optional(Headers),
  enabled: Type.Optional(Type.Boolean({ description: 'False: nothing is sent there.' })),
  inFlightMax: Type.Optional(Type.Union([InFlightMax, Type.Null()])),
  attemptTimeoutMs: Type.Optional(Type.Union([AttemptTimeoutMs, Type.Null()])),
  rateLimit: Type.Optional(Type.Union([RateLimit, Type.Null()])),
  retryPolicy: Type.Optional(RetryPolicyOrNull),
  tls: Type.Optional(Type.Union([Tls, Type.Null()])),
}

export const NewEndpoint = Type.Object(
  { url: Url, eventTypes: EventTypes, ...optionalMembers, secret: Type.Optional(Secret) },
  { title: 'NewEndpoint', additionalProperties: false },
)
export type NewEndpoint = Static<typeof NewEndpoint>

export const EndpointChange = Type.Object(
  { url: Type.Optional(Url), eventTypes: Type.Optional(EventTypes), ...optionalMembers },
  { title: 'EndpointChange', additionalProperties: false },
)
export type EndpointChange = Static<typeof EndpointChange>

export const EndpointSecret = Type.Object(
  {
    secret: Type.String({ description: 'The newest secret that signs, whsec_….' }),
    createdAt: Time('When it was made.'),
    previous: Type.Array(
      Type.Object(
        { createdAt: Time('When it was made.'), expiresAt: Time('Until when it signs too.') },
        { additionalProperties: false },
      ),
      { description: 'Those that sign beside it, newest first: their overlap is not over.' },
    ),
  },
  { title: 'EndpointSecret', additionalProperties: false },
)

export const OVERLAP_DEFAULT_S = 86_400
const OVERLAP_MAX_S = 7 * 86_400

export const SecretRotation = Type.Object(
  {
    secret: Type.Optional(Secret),
    overlapS: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: OVERLAP_MAX_S,
        description: `How long the secrets that there are go on signing, in seconds. Default: ${OVERLAP_DEFAULT_S}, a day.`,
        examples: [3_600],
      }),
    ),
  },
  { title: 'SecretRotation', additionalProperties: false },
)

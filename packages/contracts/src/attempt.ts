import { type Static, Type } from 'typebox'
import { PublicId } from './identifiers.ts'
import { Time } from './text.ts'

/** One HTTP POST of a delivery. */
export const Attempt = Type.Object(
  {
    id: PublicId('att', 'Id of the attempt.'),
    number: Type.Integer({ description: 'Counts from 1.' }),
    startedAt: Time('When it began.'),
    durationMs: Type.Integer({ description: 'How long it took, in milliseconds.' }),
    outcome: Type.String({ description: 'delivered, rejected, or why no answer came, such as timeout.' }),
    status: Type.Union([Type.Integer({ description: 'HTTP status of the answer.' }), Type.Null()]),
    detail: Type.Union([Type.String(), Type.Null()]),
    timings: Type.Record(Type.String(), Type.Number(), {
      description:
        'In milliseconds: totalMs, firstByteMs where an answer began, and dnsMs, connectMs and tlsMs where it opened a connection.',
    }),
    responseHeaders: Type.Union([
      Type.Array(Type.Array(Type.String()), {
        description:
          'Pairs of name and value, without those that only speak of the connection, such as keep-alive.',
      }),
      Type.Null(),
    ]),
    responseBody: Type.Union([
      Type.String({ description: 'The beginning of the answer, as text.' }),
      Type.Null(),
    ]),
    responseBodyBase64: Type.Optional(
      Type.String({
        description: 'The same in base64, where it is not UTF-8 and the text is therefore not exact.',
      }),
    ),
    responseBodyTruncated: Type.Boolean({ description: 'Whether the answer went on.' }),
  },
  { title: 'Attempt', additionalProperties: false },
)
export type Attempt = Static<typeof Attempt>

import { type Static, Type } from 'typebox'

/** A problem document (RFC 9457), as every error of the API is answered. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'A URN made of the code.' }),
    title: Type.String({ description: 'What kind of problem it is, for people.' }),
    status: Type.Integer({ description: 'The HTTP status.' }),
    detail: Type.String({ description: 'What is wrong with this request, and what to do.' }),
    code: Type.String({ description: 'Stable, for programs.' }),
    instance: Type.Optional(Type.String({ description: 'Id of the request, to be found in the log.' })),
    errors: Type.Optional(
      Type.Array(
        Type.Object(
          {
            path: Type.String({ description: 'JSON pointer (RFC 6901) of the value that is wrong.' }),
            message: Type.String(),
          },
          { additionalProperties: false },
        ),
      ),
    ),
  },
  { title: 'Problem', additionalProperties: false },
)
export type Problem = Static<typeof Problem>

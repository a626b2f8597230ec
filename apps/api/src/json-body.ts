import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import {
  BATCH_KEYS_MAX,
  DEPTH_MAX,
  hasMoreKeysThan,
  type JsonFault,
  type JsonMembers,
  jsonMembers,
  KEYS_MAX,
} from './json-members.ts'
import { ProblemError } from './problem-details.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Found in the body by routes that pass parts of it on as they were given. */
    jsonMembers: JsonMembers | undefined
  }
  interface FastifyContextConfig {
    /** Whose bytes the route passes on as they were given. */
    members?: 'data' | 'messages[].data'
  }
}

/** Makes JSON the one content type, read strictly. */
export function registerJsonBody(app: FastifyInstance): void {
  app.decorateRequest('jsonMembers', undefined)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, raw, done) => {
    try {
      done(null, readJsonBody(request, raw))
    } catch (error) {
      done(error as Error)
    }
  })
}

function readJsonBody(request: FastifyRequest, raw: Buffer): unknown {
  if ((request.headers['content-encoding'] ?? 'identity') !== 'identity') {
    throw new ProblemError('unsupported_media_type', 'Send the body as it is, without content-encoding.')
  }
  if (raw.length === 0) return undefined
  if (!isUtf8(raw)) throw new ProblemError('invalid_utf8', `Send JSON in UTF-8. ${whereUtf8Breaks(raw)}`)
  const { members: wanted } = request.routeOptions.config
  const keysMax = wanted === 'messages[].data' ? BATCH_KEYS_MAX : KEYS_MAX
  if (hasMoreKeysThan(raw, keysMax)) {
    throw new ProblemError(
      'too_many_keys',
      `The objects of the body may have at most ${keysMax} keys together. Send fewer, or a link to the data.`,
    )
  }
  const value = parse(raw)
  const members = jsonMembers(raw, wanted)
  if (members.fault !== undefined) throw faultProblem(members.fault)
  request.jsonMembers = members
  return value
}

export function faultProblem(fault: JsonFault): ProblemError {
  switch (fault.kind) {
    case 'too-deep':
      return new ProblemError(
        'payload_too_deep',
        `Objects and arrays may be nested at most ${DEPTH_MAX} deep. Flatten the data.`,
      )
    case 'forbidden-key':
      return new ProblemError(
        'forbidden_key',
        `No object may have the key ${fault.key}: it changes objects in careless receivers. Rename it.`,
      )
  }
}

function parse(raw: Buffer): unknown {
  try {
    return JSON.parse(raw.toString('utf8'))
  } catch (error) {
    const reason = (error as Error).message.slice(0, 200)
    throw new ProblemError('invalid_json', `The body cannot be read as JSON (RFC 8259): ${reason}.`)
  }
}

function whereUtf8Breaks(raw: Buffer): string {
  // Each line feed ends a character, so the first line that breaks can be named.
  let line = 1
  let start = 0
  for (;;) {
    const end = raw.indexOf(0x0a, start)
    if (end < 0 || !isUtf8(raw.subarray(start, end))) return `Line ${line} of the body is not.`
    line += 1
    start = end + 1
  }
}

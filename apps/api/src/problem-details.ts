import { type Problem, type ProblemCode, problemTitles } from '@posthorn/contracts'
import { isUnavailable, UnreadableSecretsError } from '@posthorn/store'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'

export type ProblemItem = { path: string; message: string }

/** Thrown by routes, answered by `handleError`. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly code: ProblemCode
  readonly problem: Problem
  readonly headers: Readonly<Record<string, string>>

  constructor(
    code: ProblemCode,
    detail: string,
    more: { errors?: ProblemItem[]; headers?: Record<string, string> } = {},
  ) {
    super(detail)
    this.code = code
    this.problem = problemOf(code, detail, more.errors)
    this.headers = more.headers ?? {}
  }
}

/** A problem document (RFC 9457). `detail` says what is wrong and what to do. */
export function problemOf(code: ProblemCode, detail: string, errors?: ProblemItem[]): Problem {
  return {
    type: `urn:posthorn:problem:${code}`,
    title: problemTitles[code],
    status: statusOf[code],
    detail,
    code,
    ...(errors !== undefined && errors.length > 0 && { errors }),
  }
}

/**
 * HTTP status of each code, given here only. 400: what was sent cannot be read. 422: it can, and does not
 * fit (RFC 9110, section 15.5).
 */
const statusOf: Record<ProblemCode, number> = {
  invalid_json: 400,
  invalid_utf8: 400,
  payload_too_large: 413,
  payload_too_deep: 422,
  too_many_keys: 422,
  batch_too_large: 422,
  forbidden_key: 422,
  unsupported_media_type: 415,
  headers_too_large: 431,
  request_timeout: 408,
  invalid_request: 400,
  validation_failed: 422,
  unknown_field: 422,
  unauthorized: 401,
  too_many_failures: 429,
  rate_limited: 429,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  invalid_cursor: 400,
  invalid_event_type: 422,
  unknown_event_type: 422,
  event_type_taken: 409,
  reserved_event_type: 422,
  event_type_in_use: 409,
  unknown_owner: 422,
  uid_taken: 409,
  url_invalid: 422,
  url_too_long: 422,
  url_scheme: 422,
  url_credentials: 422,
  url_fragment: 422,
  url_port: 422,
  url_host_refused: 422,
  invalid_header: 422,
  invalid_tls: 422,
  invalid_secret: 422,
  too_many_secrets: 409,
  secrets_unreadable: 503,
  invalid_idempotency_key: 422,
  idempotency_conflict: 409,
  id_out_of_range: 422,
  endpoint_deleted: 409,
  endpoint_disabled: 409,
  message_expunged: 409,
  attempt_under_way: 409,
  replay_under_way: 409,
  owner_over_share: 429,
  overloaded: 503,
  database_unavailable: 503,
  shutting_down: 503,
  internal_error: 500,
}

const DATABASE_RETRY_AFTER_SECONDS = 2

/** Answers every error of the API as a problem document. Nothing of an unexpected error gets out: it is in the log. */
export function handleError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof ProblemError) return sendProblem(reply, error.problem, error.headers)
  if (isUnavailable(error)) {
    request.log.warn({ err: error, requestId: request.id, url: request.url }, 'request.database_unavailable')
    return sendProblem(
      reply,
      problemOf(
        'database_unavailable',
        `The database does not answer now. Send the request again in ${DATABASE_RETRY_AFTER_SECONDS} seconds, a message under the same id or Idempotency-Key: then it is not doubled.`,
      ),
      { 'retry-after': String(DATABASE_RETRY_AFTER_SECONDS) },
    )
  }
  if (error instanceof UnreadableSecretsError) {
    request.log.error({ err: error, requestId: request.id, url: request.url }, 'request.secrets_unreadable')
    return sendProblem(
      reply,
      problemOf(
        'secrets_unreadable',
        `What is encrypted of this endpoint cannot be read here. The server's log says why under requestId ${request.id}: perhaps a master key is missing in POSTHORN_MASTER_KEY.`,
      ),
    )
  }
  const known = knownProblem(error as FastifyError, request)
  if (known !== undefined) return sendProblem(reply, known)
  request.log.error(
    { err: error, requestId: request.id, method: request.method, url: request.url },
    'request.failed',
  )
  return sendProblem(reply, {
    ...problemOf(
      'internal_error',
      `The server's log has the cause under requestId ${request.id}. Tell it to whoever runs this server.`,
    ),
    instance: `urn:uuid:${request.id}`,
  })
}

function sendProblem(
  reply: FastifyReply,
  problem: Problem,
  headers: Readonly<Record<string, string>> = {},
): FastifyReply {
  // As text, so that no route's response schema takes part in it.
  return reply
    .code(problem.status)
    .headers(headers)
    .type('application/problem+json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(problem)
}

/** What Fastify itself refuses. https://fastify.dev/docs/latest/Reference/Errors/ */
function knownProblem(error: FastifyError, request: FastifyRequest): Problem | undefined {
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return problemOf(
        'payload_too_large',
        `The body may have at most ${request.routeOptions.bodyLimit} bytes. Send less, or a link to the data instead of the data.`,
      )
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_INVALID_CONTENT_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return problemOf('unsupported_media_type', 'Send JSON with the header content-type: application/json.')
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return problemOf('invalid_request', 'The body has another length than the header content-length says.')
    case 'FST_ERR_BAD_URL':
      return problemOf(
        'invalid_request',
        'The path has a percent sign without two hexadecimal digits after it.',
      )
  }
  if (typeof error.statusCode === 'number' && error.statusCode >= 400 && error.statusCode < 500) {
    return problemOf(
      'invalid_request',
      'The request could not be read. Check its headers and that it was sent whole.',
    )
  }
  return undefined
}

/**
 * Why an event was not emitted. Codes of the API's problem documents (`unauthorized`,
 * `idempotency_conflict`, …) come through as they are.
 */
export type PosthornErrorCode =
  | 'invalid_options'
  | 'invalid_event'
  | 'invalid_hook'
  | 'not_configured'
  | 'missing_package'
  | 'network_error'
  | 'timeout'
  | 'overloaded'
  | 'transport_error'
  | 'closed'
  | 'http_error'
  | 'unexpected_response'
  | 'queue_unavailable'
  | 'queue_not_migrated'
  | (string & {})

/** An RFC 9457 problem document, as the API answers it. */
export interface Problem {
  readonly type?: string
  readonly title?: string
  readonly status?: number
  readonly detail?: string
  readonly code?: string
  readonly [member: string]: unknown
}

export interface PosthornErrorDetails {
  /** HTTP status, where the API answered. */
  readonly status?: number | undefined
  /** Whether emitting the same event again may succeed. */
  readonly retryable?: boolean
  /** What the API said, where it answered with a problem document. */
  readonly problem?: Problem | undefined
  /** Id the event was sent under. */
  readonly messageId?: string | undefined
  readonly cause?: unknown
}

/** An event was not emitted, or it is not known whether it was. `code` is stable, the message is for people. */
export class PosthornError extends Error {
  override readonly name: string = 'PosthornError'
  readonly code: PosthornErrorCode
  readonly status: number | undefined
  readonly retryable: boolean
  readonly problem: Problem | undefined
  /**
   * Id the event was sent under. After `timeout` or `network_error` it may have been accepted all the same:
   * emitting it again with this id does not double it.
   */
  readonly messageId: string | undefined

  constructor(code: PosthornErrorCode, message: string, details: PosthornErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.status = details.status
    this.retryable = details.retryable ?? false
    this.problem = details.problem
    this.messageId = details.messageId
  }
}

/**
 * A hooked function did its work, but its event could not be emitted. `result` is what the function
 * returned; `cause` is why; `code`, `status`, `retryable`, `problem` and `messageId` are the cause's.
 */
export class EmitError<Result = unknown> extends PosthornError {
  override readonly name: string = 'EmitError'
  readonly result: Result

  constructor(type: string, result: Result, cause: unknown) {
    const known = cause instanceof PosthornError ? cause : undefined
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(known?.code ?? 'invalid_event', `The function ran, but "${type}" was not emitted: ${reason}`, {
      status: known?.status,
      retryable: known?.retryable ?? false,
      problem: known?.problem,
      messageId: known?.messageId,
      cause,
    })
    this.result = result
  }
}

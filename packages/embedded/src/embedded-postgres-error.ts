/** What went wrong, stable across releases; the message says what to do about it. */
export type EmbeddedPostgresErrorCode =
  | 'unsupported_platform'
  | 'binaries_unusable'
  | 'cannot_drop_privileges'
  | 'data_dir_in_use'
  | 'data_dir_not_permitted'
  | 'data_dir_unreachable'
  | 'data_dir_damaged'
  | 'wrong_version'
  | 'port_in_use'
  | 'start_failed'
  | 'stop_failed'

export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError'
  readonly code: EmbeddedPostgresErrorCode

  constructor(code: EmbeddedPostgresErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

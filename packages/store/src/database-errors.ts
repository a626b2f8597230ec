/** Is this error the database's absence (gone, starting, full of connections) rather than our statement? */
export function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof AggregateError) return error.errors.some(isUnavailable)
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string') {
    // 08: connection; 53: out of connections, memory, disk; 57: shut down, restarted or timed out;
    // 25006: a standby that was not promoted. https://www.postgresql.org/docs/18/errcodes-appendix.html
    if (/^(08|53|57)/.test(code) || code === '25006') return true
    if (/^(ECONN|EPIPE|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ENOENT|EACCES)/.test(code)) {
      return true
    }
    // Prisma: P1001 unreachable, P1002 timed out, P1008 timed out, P1017 closed, P2024 pool exhausted, P2028 transaction not begun.
    if (['P1001', 'P1002', 'P1008', 'P1017', 'P2024', 'P2028', 'P2037'].includes(code)) return true
  }
  if (error.cause !== undefined && error.cause !== error && isUnavailable(error.cause)) return true
  // node-postgres gives these no code.
  return /Connection terminated|Query read timeout|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after calling end|DatabaseNotReachable|SocketTimeout|ConnectionClosed|TooManyConnections/.test(
    `${error.name} ${error.message} ${(error as { meta?: { driverAdapterError?: unknown } }).meta?.driverAdapterError ?? ''}`,
  )
}

/** PostgreSQL's five-character code of an error, where it has one. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}

/** A deadlock or a serialization failure: the statement goes through when it is repeated. */
export function isTransient(error: unknown): boolean {
  const state = sqlState(error)
  return state === '40P01' || state === '40001'
}

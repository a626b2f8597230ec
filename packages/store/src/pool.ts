import pg from 'pg'

export type Pool = pg.Pool

export interface PoolOptions {
  /** Connections at most. */
  max?: number
  applicationName?: string
  /** How long a caller waits for a connection before it fails. */
  connectTimeoutMs?: number
  /** The server ends a statement that takes longer. */
  statementTimeoutMs?: number
}

const STATEMENT_OPTIONS = [
  // Compiling a plan costs more than any statement here takes to run.
  '-c jit=off',
  // A plan that was kept while a table was small would read the whole of it when it has grown: the working set
  // is empty at one moment and has thousands of dead rows at the next. Every statement here has its index.
  '-c enable_seqscan=off',
].join(' ')

/**
 * The one pool of a process: named statements and Prisma share it.
 * The caller ends it.
 */
export function createPool(databaseUrl: string, options: PoolOptions = {}): Pool {
  const { statementTimeoutMs = 30_000 } = options
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: options.max ?? 10,
    application_name: options.applicationName ?? 'posthorn',
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    statement_timeout: statementTimeoutMs,
    // Where the network falls silent the server's own bound is never heard of.
    query_timeout: statementTimeoutMs + 5_000,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    options: STATEMENT_OPTIONS,
  })
  // An idle connection that drops is replaced at the next use, which reports what is wrong then.
  pool.on('error', () => {})
  // One that is lent out tells whoever awaits a query on it; the event beside that, with nobody
  // listening, would end the process.
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}

/**
 * An array parameter of values that need no quotes in PostgreSQL's text form (UUIDs, numbers, booleans, names of
 * enumerations): pg looks at each character of each element.
 */
export function plainArray(values: readonly (string | number | boolean | null)[]): string {
  let text = '{'
  for (let at = 0; at < values.length; at++) text += at === 0 ? values[at] : `,${values[at]}`
  return `${text}}`
}

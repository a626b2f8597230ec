import { setTimeout as delay } from 'node:timers/promises'
import { isUnavailable } from './database-errors.ts'
import type { Pool } from './pool.ts'

/** `code`: `database_unreachable`, or `database_refused` where waiting cannot help. */
export class DatabaseUnreachableError extends Error {
  readonly code: 'database_unreachable' | 'database_refused'
  constructor(code: DatabaseUnreachableError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'DatabaseUnreachableError'
    this.code = code
  }
}

/**
 * Waits for the database to answer.
 *
 * @param onWait called once, when it does not answer at once
 * @throws {DatabaseUnreachableError} after `timeoutMs`, or at once where waiting cannot help (a wrong
 *   password, a database that does not exist)
 */
export async function waitForDatabase(
  pool: Pool,
  { timeoutMs, onWait }: { timeoutMs: number; onWait(reason: string): void },
): Promise<void> {
  const deadline = Date.now() + timeoutMs
  for (let first = true; ; first = false) {
    try {
      await pool.query('SELECT 1')
      return
    } catch (error) {
      const reason = describe(error)
      if (!isUnavailable(error)) {
        throw new DatabaseUnreachableError(
          'database_refused',
          `The database refused the connection (${reason}). Check what DATABASE_URL says.`,
          { cause: error },
        )
      }
      if (first) onWait(reason)
      if (Date.now() >= deadline) {
        throw new DatabaseUnreachableError(
          'database_unreachable',
          `The database did not answer within ${Math.round(timeoutMs / 1000)} s (${reason}). Check that it runs and that DATABASE_URL names it.`,
          { cause: error },
        )
      }
      await delay(500)
    }
  }
}

function describe(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(describe).join('; ')
  return error instanceof Error ? error.message : String(error)
}

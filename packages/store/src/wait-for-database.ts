import { setTimeout as delay } from 'node:timers/promises'
import { isUnavailable } from './database-errors.ts'
import type { Pool } from './pool.ts'

/** `code`: `database_unreachable`. */
export class DatabaseUnreachableError extends Error {
  readonly code = 'database_unreachable'
}

/**
 * Waits for the database to answer.
 *
 * @param onWait called once, when it does not answer at once
 * @throws {DatabaseUnreachableError} after `timeoutMs`; another error at once where waiting cannot
 *   help (a wrong password, a database that does not exist)
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
      if (!isUnavailable(error)) throw error
      const reason = describe(error)
      if (first) onWait(reason)
      if (Date.now() >= deadline) {
        throw new DatabaseUnreachableError(
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

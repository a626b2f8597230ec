import { DatabaseSync } from 'node:sqlite'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'

export type OwnerLock = { release(): void }

// SQLITE_BUSY in https://sqlite.org/rescode.html
const SQLITE_BUSY = 5

// A collected DatabaseSync closes its file, which would let go of the lock behind its owner's back.
const heldLocks = new Set<DatabaseSync>()

/**
 * Takes the lock that makes this process the one owner of a data directory, or answers undefined when
 * another start (in this process or another) holds it.
 *
 * The lock is the operating system's own on an empty SQLite file, so it is gone with its process however
 * that ends: there is no stale lock to recognise, and no pid that may belong to somebody else by now.
 */
export function tryOwnerLock(path: string): OwnerLock | undefined {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path, { timeout: 0 })
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE') // no second file beside it
  } catch (error) {
    database?.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined
    throw new EmbeddedPostgresError(
      'data_dir_not_permitted',
      `Cannot lock ${path}. Run Posthorn as the user who owns that directory, or choose another data directory.`,
      { cause: error },
    )
  }

  const held = database
  heldLocks.add(held)
  return {
    release() {
      if (heldLocks.delete(held)) held.close()
    },
  }
}

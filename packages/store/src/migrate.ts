import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { PoolClient } from 'pg'
import { ensurePartitions } from './partitions.ts'
import type { Pool } from './pool.ts'

const MIGRATIONS = new URL('../../../prisma/migrations/', import.meta.url)
const POSTGRES_VERSION_MIN = 180_000

// Any fixed number: it only has to be ours. ('PHRN' in ASCII.)
export const MIGRATION_LOCK = 0x5048_524e

/** `code`: `postgres_too_old` | `migration_edited` | `migration_missing` | `migration_failed` | `migration_unfinished`. */
export class MigrationError extends Error {
  readonly code: string
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'MigrationError'
    this.code = code
  }
}

interface Migration {
  name: string
  sql: string
  checksum: string
}

interface AppliedRow {
  migration_name: string
  checksum: string
  finished_at: Date | null
  logs: string | null
}

/**
 * Brings the database up to the migrations in `prisma/migrations`, then makes the partitions of the
 * days ahead. Keeps Prisma's own `_prisma_migrations`, so `prisma migrate deploy` can take turns with it.
 *
 * Safe when many processes call it at once: one works under an advisory lock, the others wait for it
 * and find nothing to do. Each migration is one transaction with its record.
 *
 * @returns the names of the migrations that this call applied
 * @throws {MigrationError} on a server that is too old, and on an edited, missing or failed migration
 */
export async function migrate(pool: Pool, options: { directory?: URL } = {}): Promise<string[]> {
  const migrations = await readMigrations(options.directory ?? MIGRATIONS)
  const client = await pool.connect()
  try {
    // Waiting for another migrator may take longer than any statement of ours should.
    await client.query('SET statement_timeout = 0')
    await requireVersion(client)
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK])
    try {
      const applied = await applyMissing(client, migrations)
      await ensurePartitions(client)
      return applied
    } finally {
      await client.query('SELECT pg_advisory_unlock($1)', [MIGRATION_LOCK])
    }
  } finally {
    // Its settings were changed: a new connection takes its place.
    client.release(true)
  }
}

async function readMigrations(directory: URL): Promise<Migration[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  return await Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(new URL(`${name}/migration.sql`, directory), 'utf8')
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

async function requireVersion(client: PoolClient): Promise<void> {
  const { rows } = await client.query<{ number: number; version: string }>(
    `SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version`,
  )
  const server = rows[0]!
  if (server.number < POSTGRES_VERSION_MIN) {
    throw new MigrationError(
      'postgres_too_old',
      `PostgreSQL 18 or newer is needed (Posthorn makes ids with its uuidv7()), but DATABASE_URL names a ${server.version}. Use a newer server, or leave DATABASE_URL unset to run the embedded one.`,
    )
  }
}

async function applyMissing(client: PoolClient, migrations: Migration[]): Promise<string[]> {
  // As Prisma makes it, so that its own commands accept it.
  await client.query(`CREATE TABLE IF NOT EXISTS "_prisma_migrations" (
    "id" VARCHAR(36) PRIMARY KEY NOT NULL,
    "checksum" VARCHAR(64) NOT NULL,
    "finished_at" TIMESTAMPTZ,
    "migration_name" VARCHAR(255) NOT NULL,
    "logs" TEXT,
    "rolled_back_at" TIMESTAMPTZ,
    "started_at" TIMESTAMPTZ NOT NULL DEFAULT now(),
    "applied_steps_count" INTEGER NOT NULL DEFAULT 0
  )`)
  const { rows } = await client.query<AppliedRow>(
    `SELECT migration_name, checksum, finished_at, logs FROM "_prisma_migrations" WHERE rolled_back_at IS NULL`,
  )
  const known = new Map(migrations.map((migration) => [migration.name, migration]))
  for (const row of rows) checkApplied(row, known.get(row.migration_name))

  const done = new Set(rows.map((row) => row.migration_name))
  const missing = migrations.filter((migration) => !done.has(migration.name))
  for (const migration of missing) await apply(client, migration)
  return missing.map((migration) => migration.name)
}

function checkApplied(row: AppliedRow, migration: Migration | undefined): void {
  if (row.finished_at === null) {
    throw new MigrationError(
      'migration_unfinished',
      `Migration ${row.migration_name} was started and did not finish${row.logs ? `: ${row.logs.split('\n')[0]}` : ''}. Mend the database, then mark it with \`prisma migrate resolve --applied ${row.migration_name}\` or \`--rolled-back ${row.migration_name}\`.`,
    )
  }
  if (migration === undefined) {
    throw new MigrationError(
      'migration_missing',
      `The database has migration ${row.migration_name}, which this version of Posthorn does not know: the database belongs to a newer version. Run that version, or restore a backup from before the upgrade.`,
    )
  }
  if (migration.checksum !== row.checksum) {
    throw new MigrationError(
      'migration_edited',
      `Migration ${row.migration_name} was edited after it was applied (its file's SHA-256 is ${migration.checksum.slice(0, 12)}…, the applied one was ${row.checksum.slice(0, 12)}…). Restore the file from version control; put changes into a new migration.`,
    )
  }
}

async function apply(client: PoolClient, migration: Migration): Promise<void> {
  await client.query('BEGIN')
  try {
    await client.query(migration.sql)
    await client.query(
      `INSERT INTO "_prisma_migrations" (id, checksum, finished_at, migration_name, applied_steps_count)
       VALUES ($1, $2, now(), $3, 1)`,
      [randomUUID(), migration.checksum, migration.name],
    )
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw new MigrationError(
      'migration_failed',
      `Migration ${migration.name} failed and was rolled back: ${(error as Error).message}. Nothing of it was kept; mend the cause and start again.`,
      { cause: error },
    )
  }
}

import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'

import './provided-context.ts'

export type TestDatabase = { url: string; name: string; drop(): Promise<void> }

/** A fresh database on the run's server, empty or a copy of `template` (see templateDatabase). */
export async function createDatabase(options: { template?: string } = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`
  await withMaintenance(async (client) => {
    const template = options.template === undefined ? '' : ` TEMPLATE "${options.template}"`
    await client.query(`CREATE DATABASE "${name}"${template}`)
  })
  return {
    url: databaseUrl(name),
    name,
    drop: () =>
      withMaintenance(async (client) => {
        await client.query(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`)
      }),
  }
}

/**
 * Prepares a database once per run (migrations, mostly), however many test files ask for it at once, and
 * answers its name for createDatabase({ template }).
 */
export async function templateDatabase(
  name: string,
  prepare: (url: string) => Promise<void>,
): Promise<string> {
  const template = `template_${name}`
  await withMaintenance(async (client) => {
    await client.query('SELECT pg_advisory_lock(hashtextextended($1, 0))', [template])
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [template])
    if (found.rowCount !== 0) return

    // Under its final name only when complete: a prepare() that failed must not be copied from.
    const making = `${template}_making`
    await client.query(`DROP DATABASE IF EXISTS "${making}" WITH (FORCE)`)
    await client.query(`CREATE DATABASE "${making}"`)
    await prepare(databaseUrl(making))
    // A database with sessions cannot be renamed or copied, and a pool's last one ends a moment late.
    await client.query(`ALTER DATABASE "${making}" WITH ALLOW_CONNECTIONS false`)
    await client.query('SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1', [
      making,
    ])
    await client.query(`ALTER DATABASE "${making}" RENAME TO "${template}"`)
  })
  return template
}

function databaseUrl(name: string): string {
  const url = new URL(inject('postgresUrl'))
  url.pathname = `/${name}`
  return url.href
}

/** Closing the session lets go of its advisory locks. */
async function withMaintenance(act: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl('postgres') })
  client.on('error', () => {})
  await client.connect()
  try {
    await act(client)
  } finally {
    await client.end().catch(() => {})
  }
}

import { realpathSync } from 'node:fs'
import pg from 'pg'
import { superuser } from './cluster.ts'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'

export type ServerAddress = { port: number; password: string }

const CONNECT_TIMEOUT_MS = 5_000

/** `sslmode` is said so that a PGSSLMODE in the surrounding shell cannot ask a loopback server for TLS. */
export function serverUrl(address: ServerAddress, database: string): string {
  return `postgresql://${superuser}:${address.password}@127.0.0.1:${address.port}/${database}?sslmode=disable`
}

/**
 * `ready`: our server answers there. `starting`: it answers, and is not ready yet. `silent`: nothing
 * answers. `foreign`: what answers is another server than the one on `clusterDir`.
 */
export type Health = 'ready' | 'starting' | 'silent' | 'foreign'

export async function checkHealth(address: ServerAddress, clusterDir: string): Promise<Health> {
  try {
    const dataDirectory = await withClient(address, 'postgres', async (client) => {
      const { rows } = await client.query<{ data_directory: string }>('SHOW data_directory')
      return rows[0]?.data_directory
    })
    return dataDirectory !== undefined && realpathSync(dataDirectory) === realpathSync(clusterDir)
      ? 'ready'
      : 'foreign'
  } catch (error) {
    const code = (error as { code?: string }).code
    if (code === '57P03') return 'starting' // cannot_connect_now
    if (code === '28P01' || code === '28000') return 'foreign' // invalid_password, invalid_authorization
    return 'silent'
  }
}

export async function ensureDatabase(address: ServerAddress, database: string): Promise<void> {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(database)) {
    throw new EmbeddedPostgresError(
      'start_failed',
      `"${database}" cannot be a database name here: use at most 63 small letters, digits and "_".`,
    )
  }
  await withClient(address, 'postgres', async (client) => {
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [database])
    if (found.rowCount !== 0) return
    try {
      await client.query(`CREATE DATABASE "${database}"`)
    } catch (error) {
      // 42P04 duplicate_database, 23505 unique_violation: another start made it in between.
      const { code } = error as { code?: string }
      if (code !== '42P04' && code !== '23505') throw error
    }
  })
}

async function withClient<T>(
  address: ServerAddress,
  database: string,
  act: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: address.port,
    user: superuser,
    password: address.password,
    database,
    ssl: false,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: 30_000,
  })
  // A server that ends under an idle client says so in an event, which would end the program if unheard.
  client.on('error', () => {})
  try {
    await client.connect()
    return await act(client)
  } finally {
    await client.end().catch(() => {})
  }
}

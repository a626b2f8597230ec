import { randomBytes } from 'node:crypto'
import type { Pool } from './pool.ts'

/** What they are for. */
export type SharedSecretName = 'owner-token'

const SECRET_BYTES = 32

/** The random bytes of this name, which all processes share; made by whoever asks first. */
export async function sharedSecret(pool: Pool, name: SharedSecretName): Promise<Buffer> {
  const { rows } = await pool.query<{ secret: Buffer }>({
    name: 'shared-secret',
    text: 'SELECT secret FROM shared_secrets WHERE name = $1',
    values: [name],
  })
  if (rows[0] !== undefined) return rows[0].secret
  // Of two at once, one makes it and both read it.
  await pool.query('INSERT INTO shared_secrets (name, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
    name,
    randomBytes(SECRET_BYTES),
  ])
  return await sharedSecret(pool, name)
}

/** Puts new random bytes in the place of the old ones, which are gone. */
export async function renewSharedSecret(pool: Pool, name: SharedSecretName): Promise<void> {
  await pool.query(
    `INSERT INTO shared_secrets (name, secret) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET secret = excluded.secret, created_at = now()`,
    [name, randomBytes(SECRET_BYTES)],
  )
}

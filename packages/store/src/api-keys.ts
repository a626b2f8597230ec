import { createHash, randomBytes } from 'node:crypto'
import { newUuid } from '@posthorn/contracts'
import type { Pool } from './pool.ts'
import type { Store } from './store.ts'

/** `admin` may do everything; `emit` may emit messages and nothing else. */
export type ApiKeyRole = 'admin' | 'emit'

/**
 * Makes an API key.
 *
 * @returns its text, which nothing can show again: only its SHA-256 is kept
 */
export async function createApiKey(
  { prisma }: Pick<Store, 'prisma'>,
  { name, role }: { name: string; role: ApiKeyRole },
): Promise<{ id: string; key: string }> {
  const id = newUuid()
  const key = `phk_${randomBytes(32).toString('base64url')}`
  await prisma.apiKey.create({ data: { id, name, role, hash: new Uint8Array(hashApiKey(key)) } })
  return { id, key }
}

/** Keys are random, so a plain hash is enough: there is nothing to guess. */
export function hashApiKey(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

export interface KnownApiKey {
  id: string
  role: string
  /** UUID of the one owner it is for; null: for all. */
  ownerId: string | null
}

// Keys:    api_keys.hash
// Output:  the key, unless it was revoked or has expired; notes its use, at most once a minute
const USE = `
WITH valid AS (
  SELECT id, role, owner_id, last_used_at FROM api_keys
  WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
), noted AS (
  UPDATE api_keys SET last_used_at = now()
  WHERE id = (SELECT id FROM valid WHERE last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
)
SELECT id, role, owner_id AS "ownerId" FROM valid`

/** The valid key with this SHA-256. */
export async function useApiKey(pool: Pool, hash: Buffer): Promise<KnownApiKey | undefined> {
  const { rows } = await pool.query<KnownApiKey>({ name: 'use-api-key', text: USE, values: [hash] })
  return rows[0]
}

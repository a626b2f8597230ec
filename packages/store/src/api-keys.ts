import { createHash, randomBytes } from 'node:crypto'
import { newUuid, type Role } from '@posthorn/contracts'
import type { ApiKey } from './generated/client.ts'
import { lockOwner } from './owners.ts'
import type { Pool } from './pool.ts'
import type { Prisma } from './prisma.ts'
import type { Store } from './store.ts'

export type ApiKeyRecord = Omit<ApiKey, 'hash'>

export interface NewApiKeyInput {
  name: string
  role: Role
  /** UUID of the owner: for the role `owner`, and for no other. */
  ownerId?: string
  expiresAt?: Date
}

/**
 * Makes an API key.
 *
 * @returns also its text, which nothing can show again: only its SHA-256 is kept
 */
export async function createApiKey(
  { prisma }: Pick<Store, 'prisma'>,
  { name, role, ownerId, expiresAt }: NewApiKeyInput,
): Promise<{ kind: 'created'; apiKey: ApiKeyRecord; key: string } | { kind: 'unknown-owner' }> {
  const key = `phk_${randomBytes(32).toString('base64url')}`
  return await prisma.$transaction(async (transaction) => {
    if (ownerId !== undefined && !(await lockOwner(transaction, ownerId))) return { kind: 'unknown-owner' }
    const apiKey = await transaction.apiKey.create({
      data: {
        id: newUuid(),
        name,
        role,
        ownerId: ownerId ?? null,
        expiresAt: expiresAt ?? null,
        hash: new Uint8Array(hashApiKey(key)),
      },
      omit: { hash: true },
    })
    return { kind: 'created', apiKey, key }
  })
}

/** Keys are random, so a plain hash is enough: there is nothing to guess. */
export function hashApiKey(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

export async function findApiKey(prisma: Prisma, id: string): Promise<ApiKeyRecord | undefined> {
  return (await prisma.apiKey.findUnique({ where: { id }, omit: { hash: true } })) ?? undefined
}

/** Newest first, those that were revoked too. `cursor` is the id of the last key that was seen. */
export async function listApiKeys(
  prisma: Prisma,
  page: { limit: number; cursor?: string },
): Promise<ApiKeyRecord[]> {
  return await prisma.apiKey.findMany({
    ...(page.cursor !== undefined && { where: { id: { lt: page.cursor } } }),
    orderBy: { id: 'desc' },
    take: page.limit,
    omit: { hash: true },
  })
}

/** Revokes a key for good. The time of the first revocation stays. */
export async function revokeApiKey(
  prisma: Prisma,
  id: string,
): Promise<{ kind: 'revoked' | 'revoked-before'; apiKey: ApiKeyRecord } | { kind: 'unknown' }> {
  const { count } = await prisma.apiKey.updateMany({
    where: { id, revokedAt: null },
    data: { revokedAt: new Date() },
  })
  const apiKey = await findApiKey(prisma, id)
  if (apiKey === undefined) return { kind: 'unknown' }
  return { kind: count > 0 ? 'revoked' : 'revoked-before', apiKey }
}

export interface KnownApiKey {
  id: string
  name: string
  role: string
  /** UUID of the one owner it is for; null: for all. */
  ownerId: string | null
}

// Keys:    api_keys.hash
// Output:  the key, unless it was revoked or has expired; notes its use, at most once a minute
const USE = `
WITH valid AS (
  SELECT id, name, role, owner_id, last_used_at FROM api_keys
  WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
), noted AS (
  UPDATE api_keys SET last_used_at = now()
  WHERE id = (SELECT id FROM valid WHERE last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
)
SELECT id, name, role, owner_id AS "ownerId" FROM valid`

/** The valid key with this SHA-256. */
export async function useApiKey(pool: Pool, hash: Buffer): Promise<KnownApiKey | undefined> {
  const { rows } = await pool.query<KnownApiKey>({ name: 'use-api-key', text: USE, values: [hash] })
  return rows[0]
}

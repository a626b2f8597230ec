import type { Pool } from './pool.ts'
import { type OwnerKey, UnreadableSecretsError, type Vault, type WrappedKey } from './vault.ts'

/** Runs a statement in a transaction, whether of Prisma or of a connection. */
export type Run = <Row>(text: string, ...values: unknown[]) => Promise<Row[]>

const FIND = `SELECT wrapped, master_key_id AS "masterKeyId" FROM owner_keys WHERE owner_id = $1::uuid`

/** @throws {UnreadableSecretsError} also where the owner has no key */
export async function findOwnerKey(run: Run, vault: Vault, ownerId: string): Promise<OwnerKey> {
  const [found] = await run<WrappedKey>(FIND, ownerId)
  return unwrapFound(vault, ownerId, found)
}

/** @throws {UnreadableSecretsError} */
export function unwrapFound(vault: Vault, ownerId: string, found: WrappedKey | null | undefined): OwnerKey {
  if (found) return vault.unwrap(ownerId, found)
  throw new UnreadableSecretsError('no_secret', 'The owner has no key: nothing of it can be decrypted.')
}

/** The key of an owner, made where there is none yet. @throws {UnreadableSecretsError} */
export async function requireOwnerKey(run: Run, vault: Vault, ownerId: string): Promise<OwnerKey> {
  const [found] = await run<WrappedKey>(FIND, ownerId)
  if (found !== undefined) return vault.unwrap(ownerId, found)
  const { wrapped, masterKeyId } = vault.makeKey(ownerId)
  // Of two that make one at once, the second waits for the first and then finds it.
  await run(
    `INSERT INTO owner_keys (owner_id, wrapped, master_key_id) VALUES ($1::uuid, $2, $3)
     ON CONFLICT (owner_id) DO NOTHING`,
    ...[ownerId, wrapped, masterKeyId],
  )
  const [made] = await run<WrappedKey>(FIND, ownerId)
  return unwrapFound(vault, ownerId, made)
}

// From one id to the next by the index: there are a few, and a key of each owner.
const USED = `
WITH RECURSIVE used (id) AS (
  (SELECT master_key_id FROM owner_keys ORDER BY master_key_id LIMIT 1)
  UNION ALL
  SELECT (SELECT k.master_key_id FROM owner_keys k WHERE k.master_key_id > u.id ORDER BY k.master_key_id LIMIT 1)
  FROM used u WHERE u.id IS NOT NULL
)
SELECT id FROM used WHERE id IS NOT NULL`

/** Ids of the master keys that an owner's key is wrapped under and that the vault does not have. */
export async function missingMasterKeys(pool: Pool, vault: Vault): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>({ name: 'used-master-keys', text: USED })
  return rows.map(({ id }) => id).filter((id) => !vault.masterKeyIds.includes(id))
}

const REWRAP_BATCH = 500

// Input: $1 the first master key's id, $2 how many
// Locks: SKIP LOCKED, so that two of these share the work
const TAKE_OTHERS = `
SELECT owner_id AS "ownerId", wrapped, master_key_id AS "masterKeyId" FROM owner_keys
WHERE master_key_id <> $1 AND owner_id > $2 ORDER BY owner_id LIMIT $3
FOR NO KEY UPDATE SKIP LOCKED`

const WRITE_REWRAPPED = `
UPDATE owner_keys k SET wrapped = r.wrapped, master_key_id = $3
FROM ROWS FROM (unnest($1::uuid[]), unnest($2::bytea[])) AS r (owner_id, wrapped)
WHERE k.owner_id = r.owner_id`

/**
 * Wraps the keys of all owners under the first master key. What they encrypt stays as it is, and so do the
 * keys: whoever has one unwrapped goes on with it. Batch by batch, so that it can be ended and run again.
 *
 * @returns how many; `unreadable` are those whose master key the vault does not have, or that were changed
 */
export async function rewrapOwnerKeys(
  pool: Pool,
  vault: Vault,
): Promise<{ rewrapped: number; unreadable: number }> {
  const first = vault.masterKeyIds[0]!
  let position = '00000000-0000-0000-0000-000000000000'
  let rewrapped = 0
  let unreadable = 0
  for (;;) {
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
      const { rows } = await client.query<WrappedKey & { ownerId: string }>({
        name: 'take-owner-keys',
        text: TAKE_OTHERS,
        values: [first, position, REWRAP_BATCH],
      })
      const done: { ownerId: string; wrapped: Uint8Array }[] = []
      for (const row of rows) {
        try {
          done.push({ ownerId: row.ownerId, wrapped: vault.rewrap(row.ownerId, row).wrapped })
        } catch {
          unreadable += 1
        }
      }
      await client.query({
        name: 'write-owner-keys',
        text: WRITE_REWRAPPED,
        values: [done.map(({ ownerId }) => ownerId), done.map(({ wrapped }) => wrapped), first],
      })
      await client.query('COMMIT')
      rewrapped += done.length
      if (rows.length < REWRAP_BATCH) return { rewrapped, unreadable }
      position = rows.at(-1)!.ownerId
    } catch (error) {
      await client.query('ROLLBACK').catch(() => {})
      throw error
    } finally {
      client.release()
    }
  }
}

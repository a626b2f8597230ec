import { newUuid } from '@posthorn/contracts'
import { MIGRATION_LOCK } from './migrate.ts'
import { findOwnerKey, type Run, requireOwnerKey } from './owner-keys.ts'
import type { Pool } from './pool.ts'
import type { Prisma } from './prisma.ts'
import { type OwnerKey, type Place, UnreadableSecretsError, type Vault } from './vault.ts'

/** Valid at once; each costs a signature with every attempt, and a header has room for few. */
export const SECRETS_MAX = 5

/** Where an endpoint's signing secret is sealed for. */
export function secretPlace(endpointId: string, id: string): Place {
  return { endpointId, kind: 'signing secret', name: id }
}

/** Adds a signing secret (its key bytes) to an endpoint. In the transaction that makes or touches its row. */
export async function insertSecret(
  run: Run,
  vault: Vault,
  { ownerId, endpointId }: { ownerId: string; endpointId: string },
  secret: Uint8Array,
): Promise<void> {
  const key = await requireOwnerKey(run, vault, ownerId)
  const id = newUuid()
  await run(
    // The clock's time: of two secrets of one transaction, too, one is the newer.
    `INSERT INTO endpoint_secrets (id, endpoint_id, sealed, created_at)
     VALUES ($1::uuid, $2::uuid, $3, clock_timestamp())`,
    ...[id, endpointId, key.seal(secretPlace(endpointId, id), secret)],
  )
}

export interface EndpointSecretRecord {
  /** Key bytes. */
  secret: Buffer
  createdAt: Date
  /** Null: valid until it is rotated. */
  expiresAt: Date | null
}

const VALID = `
SELECT id, sealed, created_at AS "createdAt", expires_at AS "expiresAt" FROM endpoint_secrets
WHERE endpoint_id = $1::uuid AND (expires_at IS NULL OR expires_at > now())
ORDER BY created_at DESC, id DESC`

type Row = { id: string; sealed: Uint8Array | null; createdAt: Date; expiresAt: Date | null }

/**
 * The valid secrets of an endpoint, newest first.
 *
 * @throws {UnreadableSecretsError}
 */
export function findEndpointSecrets(
  prisma: Prisma,
  vault: Vault,
  endpoint: { ownerId: string; endpointId: string },
): Promise<EndpointSecretRecord[]> {
  return openValid(runOf(prisma), vault, endpoint)
}

async function openValid(
  run: Run,
  vault: Vault,
  { ownerId, endpointId }: { ownerId: string; endpointId: string },
): Promise<EndpointSecretRecord[]> {
  const rows = await run<Row>(VALID, endpointId)
  if (rows.length === 0) return []
  const key = await findOwnerKey(run, vault, ownerId)
  return rows.map((row) => openRow(key, endpointId, row))
}

function openRow(
  key: OwnerKey,
  endpointId: string,
  { id, sealed, createdAt, expiresAt }: Row,
): EndpointSecretRecord {
  if (sealed === null) throw notSealed()
  return { secret: key.open(secretPlace(endpointId, id), sealed), createdAt, expiresAt }
}

export function notSealed(): UnreadableSecretsError {
  return new UnreadableSecretsError(
    'sealed_value_broken',
    'A signing secret is not encrypted: a process of an older version stored it. Run posthorn migrate.',
  )
}

export type RotateSecretResult =
  | { kind: 'rotated'; secrets: EndpointSecretRecord[] }
  | { kind: 'unknown' }
  /** As many are valid as can be. */
  | { kind: 'too-many' }
  /** The given secret is one of the endpoint's already. */
  | { kind: 'known' }

// Input:   $1 the owner, $2 and $3 the endpoint's id or its uid
// Touches the endpoint's row, so that workers load it anew; who rotates the same endpoint waits here.
const TOUCH = `
UPDATE endpoints SET updated_at = now()
WHERE owner_id = $1::uuid AND (id = $2::uuid OR uid = $3) AND deleted_at IS NULL
RETURNING id`

// To the millisecond below, as the column keeps it: rounded up, one without an overlap would still be valid.
const EXPIRE = `
UPDATE endpoint_secrets
SET expires_at = least(expires_at, date_trunc('milliseconds', now()) + $2::int * interval '1 second')
WHERE endpoint_id = $1::uuid`

const REMOVE_EXPIRED = `DELETE FROM endpoint_secrets WHERE endpoint_id = $1::uuid AND expires_at <= now()`

/**
 * Gives an endpoint a new signing secret (its key bytes). Those that it had stay valid for `overlapS` at most,
 * and sign beside it.
 *
 * @returns the valid ones, newest first
 * @throws {UnreadableSecretsError}
 */
export async function rotateSecret(
  { prisma, vault }: { prisma: Prisma; vault: Vault },
  key: { ownerId: string } & ({ id: string } | { uid: string }),
  secret: Uint8Array,
  overlapS: number,
): Promise<RotateSecretResult> {
  const { ownerId } = key
  const [id, uid] = 'id' in key ? [key.id, null] : [null, key.uid]
  return await prisma
    .$transaction(async (transaction): Promise<RotateSecretResult> => {
      const run = runOf(transaction)
      const [endpoint] = await run<{ id: string }>(TOUCH, ownerId, id, uid)
      if (endpoint === undefined) return { kind: 'unknown' }
      const endpointId = endpoint.id
      await transaction.$executeRawUnsafe(EXPIRE, endpointId, overlapS)
      await transaction.$executeRawUnsafe(REMOVE_EXPIRED, endpointId)
      const others = await openValid(run, vault, { ownerId, endpointId })
      if (others.some((other) => other.secret.equals(secret))) throw new NotRotated({ kind: 'known' })
      if (others.length >= SECRETS_MAX) throw new NotRotated({ kind: 'too-many' })
      await insertSecret(run, vault, { ownerId, endpointId }, secret)
      return { kind: 'rotated', secrets: await openValid(run, vault, { ownerId, endpointId }) }
    })
    .catch((error: unknown) => {
      if (error instanceof NotRotated) return error.result
      throw error
    })
}

/** Rolls back what was written before it was found out. */
class NotRotated extends Error {
  readonly result: RotateSecretResult
  constructor(result: RotateSecretResult) {
    super(result.kind)
    this.result = result
  }
}

/** Removes secrets whose overlap is over. @returns how many */
export async function removeExpiredSecrets(pool: Pool): Promise<number> {
  const { rowCount } = await pool.query({
    name: 'remove-expired-secrets',
    text: 'DELETE FROM endpoint_secrets WHERE expires_at <= now()',
  })
  return rowCount ?? 0
}

/** Statements of Prisma's, in a transaction of its or alone. */
export function runOf(prisma: Pick<Prisma, '$queryRawUnsafe'>): Run {
  return (text, ...values) => prisma.$queryRawUnsafe(text, ...values)
}

const SEAL_BATCH = 500

const TAKE_PLAIN = `
SELECT s.id, s.endpoint_id AS "endpointId", e.owner_id AS "ownerId", s.secret
FROM endpoint_secrets s JOIN endpoints e ON e.id = s.endpoint_id
WHERE s.secret IS NOT NULL ORDER BY s.id LIMIT $1 FOR UPDATE OF s`

// The endpoint's row is touched, so that workers that could not read the secret look again.
const WRITE_SEALED = `
WITH sealed AS (
  UPDATE endpoint_secrets SET sealed = $2, secret = NULL WHERE id = $1 RETURNING endpoint_id
)
UPDATE endpoints e SET updated_at = e.updated_at FROM sealed s WHERE e.id = s.endpoint_id`

/**
 * Encrypts the signing secrets that a version before encryption stored as they are. Safe when many processes
 * call it at once, and when one is killed in it: each batch is a transaction, under the lock of migrations.
 *
 * @returns how many
 */
export async function sealPlainSecrets(pool: Pool, vault: Vault): Promise<number> {
  const { rows } = await pool.query('SELECT 1 FROM endpoint_secrets WHERE secret IS NOT NULL LIMIT 1')
  if (rows.length === 0) return 0
  const client = await pool.connect()
  try {
    await client.query('SET statement_timeout = 0')
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK])
    const run: Run = async <Found>(text: string, ...values: unknown[]) =>
      (await client.query(text, values)).rows as Found[]
    let count = 0
    for (;;) {
      await client.query('BEGIN')
      const plain = await run<{ id: string; endpointId: string; ownerId: string; secret: Buffer }>(
        TAKE_PLAIN,
        SEAL_BATCH,
      )
      for (const { id, endpointId, ownerId, secret } of plain) {
        const key = await requireOwnerKey(run, vault, ownerId)
        await run(WRITE_SEALED, id, key.seal(secretPlace(endpointId, id), secret))
      }
      await client.query('COMMIT')
      count += plain.length
      if (plain.length < SEAL_BATCH) break
    }
    // What an update leaves behind in the table's file is still the plain secret: the table is written anew.
    await client.query('VACUUM (FULL) endpoint_secrets')
    return count
  } finally {
    // Ends its transaction and its lock where it failed, and its settings were changed.
    client.release(true)
  }
}

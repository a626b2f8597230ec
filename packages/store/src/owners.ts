import { newUuid } from '@posthorn/contracts'
import type { Owner, Prisma as PrismaTypes } from './generated/client.ts'
import type { Pool } from './pool.ts'
import type { Prisma } from './prisma.ts'
import { prismaCode } from './prisma-code.ts'

export type OwnerRecord = Owner

/** An owner by our UUID or by the application's uid. */
export type OwnerKey = { id: string } | { uid: string }

export async function createOwner(
  prisma: Prisma,
  input: { uid: string; name?: string | null },
): Promise<{ kind: 'created'; owner: OwnerRecord } | { kind: 'uid-taken' }> {
  try {
    const owner = await prisma.owner.create({
      data: { id: newUuid(), uid: input.uid, name: input.name ?? null },
    })
    return { kind: 'created', owner }
  } catch (error) {
    if (prismaCode(error) === 'unique-violation') return { kind: 'uid-taken' }
    throw error
  }
}

/**
 * @param scope UUID of the one owner that may be found. Any other is not found, by the same statement as one
 *   that is not there: neither the answer nor its time tells the two apart.
 */
export async function findOwner(
  prisma: Prisma,
  key: OwnerKey,
  scope?: string,
): Promise<OwnerRecord | undefined> {
  const where = { ...key, deletedAt: null, ...(scope !== undefined && { AND: { id: scope } }) }
  return (await prisma.owner.findFirst({ where })) ?? undefined
}

/** Is there an owner with this id that was not deleted? */
export async function isOwner(pool: Pool, id: string): Promise<boolean> {
  const { rowCount } = await pool.query({
    name: 'is-owner',
    text: 'SELECT 1 FROM owners WHERE id = $1 AND deleted_at IS NULL',
    values: [id],
  })
  return rowCount === 1
}

/** Keeps an owner from being deleted until the transaction ends. @returns false where there is none */
export async function lockOwner(transaction: PrismaTypes.TransactionClient, id: string): Promise<boolean> {
  const owners = await transaction.$queryRaw<unknown[]>`
    SELECT 1 FROM owners WHERE id = ${id}::uuid AND deleted_at IS NULL FOR SHARE`
  return owners.length > 0
}

/** Newest first. `cursor` is the id of the last owner that was seen. */
export async function listOwners(
  prisma: Prisma,
  page: { limit: number; cursor?: string },
): Promise<OwnerRecord[]> {
  return await prisma.owner.findMany({
    where: { deletedAt: null, ...(page.cursor !== undefined && { id: { lt: page.cursor } }) },
    orderBy: { id: 'desc' },
    take: page.limit,
  })
}

export async function updateOwner(
  prisma: Prisma,
  key: OwnerKey,
  change: { uid?: string; name?: string | null },
): Promise<{ kind: 'updated'; owner: OwnerRecord } | { kind: 'unknown' } | { kind: 'uid-taken' }> {
  try {
    const [owner] = await prisma.owner.updateManyAndReturn({
      where: { ...key, deletedAt: null },
      data: change,
    })
    return owner === undefined ? { kind: 'unknown' } : { kind: 'updated', owner }
  } catch (error) {
    if (prismaCode(error) === 'unique-violation') return { kind: 'uid-taken' }
    throw error
  }
}

/**
 * Deletes an owner with its endpoints, softly: the log still names them. Their uids become free.
 * A delivery that is pending then ends as cancelled. Its API keys are revoked.
 *
 * @returns its UUID, or undefined where there is none
 */
export async function deleteOwner(prisma: Prisma, key: OwnerKey): Promise<string | undefined> {
  return await prisma.$transaction(async (transaction) => {
    const deletedAt = new Date()
    const [owner] = await transaction.owner.updateManyAndReturn({
      where: { ...key, deletedAt: null },
      data: { deletedAt, uid: null },
    })
    if (owner === undefined) return undefined
    await transaction.endpoint.updateMany({
      where: { ownerId: owner.id, deletedAt: null },
      data: { deletedAt, uid: null },
    })
    await transaction.apiKey.updateMany({
      where: { ownerId: owner.id, revokedAt: null },
      data: { revokedAt: deletedAt },
    })
    return owner.id
  })
}

import { newUuid } from '@posthorn/contracts'
import type { Owner } from './generated/client.ts'
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

export async function findOwner(prisma: Prisma, key: OwnerKey): Promise<OwnerRecord | undefined> {
  return (await prisma.owner.findFirst({ where: { ...key, deletedAt: null } })) ?? undefined
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
 * A delivery that is pending then ends as cancelled.
 */
export async function deleteOwner(prisma: Prisma, key: OwnerKey): Promise<boolean> {
  return await prisma.$transaction(async (transaction) => {
    const deletedAt = new Date()
    const [owner] = await transaction.owner.updateManyAndReturn({
      where: { ...key, deletedAt: null },
      data: { deletedAt, uid: null },
    })
    if (owner === undefined) return false
    await transaction.endpoint.updateMany({
      where: { ownerId: owner.id, deletedAt: null },
      data: { deletedAt, uid: null },
    })
    return true
  })
}

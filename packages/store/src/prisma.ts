import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from './generated/client.ts'
import type { Pool } from './pool.ts'

export type Prisma = PrismaClient

/** Prisma for work on single rows, over the process's one pool. */
export function createPrisma(pool: Pool): Prisma {
  return new PrismaClient({ adapter: new PrismaPg(pool) })
}

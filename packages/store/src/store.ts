import { createPool, type Pool, type PoolOptions } from './pool.ts'
import { createPrisma, type Prisma } from './prisma.ts'

/** A process's way to the database: one pool, used by named statements and by Prisma. */
export interface Store {
  pool: Pool
  prisma: Prisma
  close(): Promise<void>
}

export function createStore(databaseUrl: string, options?: PoolOptions): Store {
  const pool = createPool(databaseUrl, options)
  const prisma = createPrisma(pool)
  return {
    pool,
    prisma,
    async close() {
      await prisma.$disconnect()
      if (!pool.ended) await pool.end()
    },
  }
}

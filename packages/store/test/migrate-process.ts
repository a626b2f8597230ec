import { createPool, migrate } from '../src/index.ts'

const pool = createPool(process.env.DATABASE_URL!, { max: 1 })
process.stdout.write(`applied: ${(await migrate(pool)).join(', ')}\n`)
await pool.end()

import { defineConfig } from 'prisma/config'

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  // Only `prisma migrate` and `prisma studio` look at it; the program is given its pool.
  datasource: { url: process.env.DATABASE_URL ?? 'postgresql://127.0.0.1/posthorn' },
})

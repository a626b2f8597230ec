import { readFile } from 'node:fs/promises'
import { createDatabase, type TestDatabase } from '@posthorn/testkit'
import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'
import { SchemaEngine } from '@prisma/schema-engine-wasm'
import type { QueryResult } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createPool, migrate, type Pool } from '../src/index.ts'

const SCHEMA = new URL('../../../prisma/schema.prisma', import.meta.url)

let database: TestDatabase
let pool: Pool

beforeAll(async () => {
  database = await createDatabase()
  pool = createPool(database.url)
  await migrate(pool)
})
afterAll(async () => {
  await pool.end()
  await database.drop()
})

/** What Prisma would still have to change to make the database what `schema` describes. */
async function drift(schema: string): Promise<string> {
  const factory = bindMigrationAwareSqlAdapterFactory(new PrismaPg(mapCharType(createPool(database.url))))
  const engine = await SchemaEngine.new({ datamodels: [['schema.prisma', schema]] }, () => {}, factory)
  const files = [{ path: 'schema.prisma', content: schema }]
  const { stdout, exitCode } = await engine.diff({
    from: { tag: 'schemaDatasource', files, configDir: '.' },
    to: { tag: 'schemaDatamodel', files },
    script: true,
    exitCode: true,
    filters: { externalTables: ['public._prisma_migrations'], externalEnums: [] },
  })
  return exitCode === 0 ? '' : (stdout ?? 'drift')
}

test('prisma/schema.prisma describes what the migrations build', async () => {
  expect(await drift(await readFile(SCHEMA, 'utf8'))).toBe('')
})

test('a column that only the schema has is drift', async () => {
  const schema = await readFile(SCHEMA, 'utf8')
  expect(await drift(schema.replace('model Owner {', 'model Owner {\n  nickname String?'))).toContain(
    'nickname',
  )
})

/**
 * Prisma's adapter does not know `"char"` (OID 18), which the catalogue's columns have:
 * its answers say `character` (OID 1042) instead.
 */
function mapCharType(catalogue: Pool): Pool {
  const query = catalogue.query.bind(catalogue) as (...args: unknown[]) => Promise<QueryResult>
  return Object.assign(catalogue, {
    async query(...args: unknown[]) {
      const result = await query(...args)
      for (const field of result.fields) if (field.dataTypeID === 18) field.dataTypeID = 1042
      return result
    },
  })
}

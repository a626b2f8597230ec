import { readFile } from 'node:fs/promises'
import { createDatabase, type TestDatabase } from '@posthorn/testkit'
import { PrismaPg } from '@prisma/adapter-pg'
import {
  bindMigrationAwareSqlAdapterFactory,
  ColumnTypeEnum,
  type SqlQuery,
} from '@prisma/driver-adapter-utils'
import { SchemaEngine } from '@prisma/schema-engine-wasm'
import type { QueryResult } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createPool, migrate, type Pool } from '../src/index.ts'

const CHAR_OID = 18
const JSON_OID = 114
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
  const catalogue = createPool(database.url)
  const files = [{ path: 'schema.prisma', content: schema }]
  try {
    const engine = await SchemaEngine.new(
      { datamodels: [['schema.prisma', schema]] },
      () => {},
      bindMigrationAwareSqlAdapterFactory(knowingChar(catalogue)),
    )
    const { stdout, exitCode } = await engine.diff({
      from: { tag: 'schemaDatasource', files, configDir: '.' },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: true,
      filters: {
        externalTables: [
          'public._prisma_migrations',
          // A partition that is partitioned itself: Prisma passes over the others, not over this one.
          'public.deliveries_ended',
        ],
        externalEnums: [],
      },
    })
    return exitCode === 0 ? '' : (stdout ?? 'drift')
  } finally {
    await catalogue.end()
  }
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
 * Prisma's adapter does not know `"char"` (OID 18), which the catalogue's columns have. Its pool passes
 * such columns off as JSON, of which the catalogue has none, and its answers are put right on the way out.
 */
function knowingChar(catalogue: Pool): PrismaPg {
  const query = catalogue.query.bind(catalogue) as (...args: unknown[]) => Promise<QueryResult>
  const factory = new PrismaPg(
    Object.assign(catalogue, {
      async query(...args: unknown[]) {
        const result = await query(...args)
        for (const field of result.fields) if (field.dataTypeID === CHAR_OID) field.dataTypeID = JSON_OID
        return result
      },
    }),
  )
  const connect = factory.connect.bind(factory)
  return Object.assign(factory, {
    async connect() {
      const adapter = await connect()
      const queryRaw = adapter.queryRaw.bind(adapter)
      return Object.assign(adapter, {
        async queryRaw(params: SqlQuery) {
          const result = await queryRaw(params)
          result.columnTypes = result.columnTypes.map((type) =>
            type === ColumnTypeEnum.Json ? ColumnTypeEnum.Character : type,
          )
          return result
        },
      })
    },
  })
}

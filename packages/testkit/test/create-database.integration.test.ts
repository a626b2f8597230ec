import { existsSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import { createDatabase, describeEachBackend, spawnNode, templateDatabase, waitFor } from '../src/index.ts'

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

it('a new database is empty, and gone after drop()', async () => {
  const database = await createDatabase()
  expect(await query(database.url, 'SELECT current_database() AS name')).toEqual([{ name: database.name }])
  expect(await query(database.url, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'")).toEqual([])
  await database.drop()
  await expect(query(database.url, 'SELECT 1')).rejects.toMatchObject({ code: '3D000' })
})

it('a template asked for ten times at once is prepared once, and copies do not share rows', async () => {
  let prepared = 0
  const names = await Promise.all(
    Array.from({ length: 10 }, () =>
      templateDatabase('testkit', async (url) => {
        prepared += 1
        await query(url, 'CREATE TABLE things (id int); INSERT INTO things VALUES (1)')
      }),
    ),
  )
  expect(new Set(names).size).toBe(1)
  expect(prepared).toBe(1)

  const [one, two] = await Promise.all([1, 2].map(() => createDatabase({ template: names[0]! })))
  await query(one!.url, 'INSERT INTO things VALUES (2)')
  expect(await query(one!.url, 'SELECT id FROM things ORDER BY id')).toEqual([{ id: 1 }, { id: 2 }])
  expect(await query(two!.url, 'SELECT id FROM things')).toEqual([{ id: 1 }])
  await Promise.all([one!.drop(), two!.drop()])
})

it('a template whose preparation failed is not kept', async () => {
  const broken = templateDatabase('broken', () => Promise.reject(new Error('no')))
  await expect(broken).rejects.toThrow('no')
  const name = await templateDatabase('broken', async (url) => {
    await query(url, 'CREATE TABLE things (id int)')
  })
  const database = await createDatabase({ template: name })
  expect(await query(database.url, 'SELECT id FROM things')).toEqual([])
  await database.drop()
})

it('a server of a run that is killed ends by itself and takes its directory along', async () => {
  const program = spawnNode(join(import.meta.dirname, 'nesting-program.ts'), ['postgres'])
  onTestFinished(() => program.stop())
  const [, dataDir] = await program.waitForLine(/^child \d+ in (.*)\/postgres\/cluster$/)
  expect(existsSync(dataDir!)).toBe(true)
  program.kill('SIGKILL')
  await waitFor(() => !existsSync(dataDir!), { message: 'the directory to be gone' })
})

describeEachBackend((backend) => {
  it('a suite knows its backend, and has a Redis URL exactly on Redis', () => {
    expect(backend.redisUrl !== undefined).toBe(backend.name === 'redis')
  })
})

import pg from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import { startPostgres, startProxy } from '../src/index.ts'

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end().catch(() => {})
  }
}

it('a server that was killed is gone, and comes back under its URL with what was committed', async () => {
  const postgres = await startPostgres()
  onTestFinished(() => postgres.stop())
  await query(postgres.url, 'CREATE TABLE things AS SELECT 7 AS id')
  const { pid } = postgres
  await postgres.kill()
  await expect(query(postgres.url, 'SELECT 1')).rejects.toThrow()
  await postgres.restart()
  expect(postgres.pid).not.toBe(pid)
  expect(await query(postgres.url, 'SELECT id FROM things')).toEqual([{ id: 7 }])
})

it('a slow proxy keeps what is sent for a while, and loses it when it is cut', async () => {
  const postgres = await startPostgres()
  onTestFinished(() => postgres.stop())
  await query(postgres.url, 'CREATE TABLE things (id int)')
  const proxy = await startProxy(postgres.url)
  onTestFinished(() => proxy.close())
  const client = new pg.Client({ connectionString: proxy.url })
  client.on('error', () => {})
  await client.connect()
  proxy.slow(60_000)
  const inserted = client.query('INSERT INTO things VALUES (1)')
  await proxy.cut()
  await expect(inserted).rejects.toThrow()
  expect(await query(postgres.url, 'SELECT id FROM things')).toEqual([])
  proxy.slow(0)
  await proxy.restore()
  expect(await query(proxy.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
})

import { createDatabase } from '@posthorn/testkit'
import { expect, onTestFinished, test } from 'vitest'
import { createPool } from '../src/index.ts'

test('a connection that the database ends while it is lent out and idle does not end the process', async () => {
  const database = await createDatabase()
  onTestFinished(() => database.drop())
  const pool = createPool(database.url)
  onTestFinished(() => pool.end())
  const client = await pool.connect()
  const ended = new Promise((resolve) => client.once('end', resolve))
  const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
  // An uncaught error would fail this run.
  await pool.query('SELECT pg_terminate_backend($1)', [rows[0].pid])
  await ended
  await expect(client.query('SELECT 1')).rejects.toThrow()
  client.release()
  expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
})

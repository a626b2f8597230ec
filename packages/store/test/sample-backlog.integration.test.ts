import { createDatabase, type TestDatabase } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createPool, migrate, newDeliveryId, type Pool, sampleBacklog } from '../src/index.ts'

const PAGE = 8_192

let database: TestDatabase
let pool: Pool

beforeEach(async () => {
  database = await createDatabase()
  pool = createPool(database.url)
  await migrate(pool)
})
afterEach(async () => {
  await pool.end()
  await database.drop()
})

async function addOwner(uid: string): Promise<string> {
  const { rows } = await pool.query('INSERT INTO owners (id, uid) VALUES (uuidv7(), $1) RETURNING id', [uid])
  return rows[0].id
}

/** Deliveries in the order of the owners given, one each, again and again. */
async function addDeliveries(ownerIds: string[], count: number, dueInSeconds: number): Promise<void> {
  await pool.query(
    `INSERT INTO deliveries_pending (id, state, message_id, endpoint_id, owner_id, event_type, due_at, wake_at)
     SELECT ${newDeliveryId('message')}, 'pending', message, uuidv7(), ($1::uuid[])[1 + n % cardinality($1::uuid[])], 'a', due, due
     FROM (SELECT n, uuidv7() AS message FROM generate_series(1, $2) n) m, (SELECT now() + $3::int * interval '1 second' AS due) t`,
    [ownerIds, count, dueInSeconds],
  )
}

test('with nothing due there is no backlog', async () => {
  await addDeliveries([await addOwner('later')], 10, 3_600)
  expect(await sampleBacklog(pool, { bytesMax: PAGE, ownersMax: 5 })).toEqual({
    due: 0,
    oldestDueMs: 0,
    owners: [],
  })
})

test('a working set that is read whole is told exactly, with the owners that have the most', async () => {
  const [small, large, deleted] = await Promise.all(['small', 'large', 'deleted'].map(addOwner))
  await pool.query('UPDATE owners SET uid = NULL WHERE id = $1', [deleted])
  await addDeliveries([small!], 3, -60)
  await addDeliveries([large!], 5, -1)
  await addDeliveries([deleted!], 4, -1)
  await addDeliveries([small!], 10, 3_600)
  expect(await sampleBacklog(pool, { bytesMax: 1_000 * PAGE, ownersMax: 2 })).toEqual({
    due: 12,
    oldestDueMs: expect.toSatisfy((ms: number) => ms >= 60_000 && ms < 3_600_000),
    owners: [
      { id: large, uid: 'large', due: 5 },
      { id: deleted, uid: null, due: 4 },
    ],
  })
})

test('a large one is estimated from the part that may be read', async () => {
  const owners = await Promise.all(['one', 'two', 'three', 'four'].map(addOwner))
  await addDeliveries([owners[0]!, ...owners], 40_000, -5)
  const { rows } = await pool.query(`SELECT pg_relation_size('deliveries_pending') AS bytes`)
  const bytesMax = Number(rows[0].bytes) / 4
  const sample = await sampleBacklog(pool, { bytesMax, ownersMax: 10 })
  // A quarter of 900 pages, all alike: off by a tenth or so, where half would say that the estimate is wrong.
  expect(sample.due).toBeGreaterThan(20_000)
  expect(sample.due).toBeLessThan(60_000)
  expect(sample.owners[0]).toMatchObject({ uid: 'one' })
  expect(sample.owners[0]!.due / sample.due).toBeCloseTo(0.4, 1)
  expect(sample.owners).toHaveLength(4)
})

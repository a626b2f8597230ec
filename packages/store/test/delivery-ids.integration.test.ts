import { newUuid } from '@posthorn/contracts'
import { createDatabase, type TestDatabase } from '@posthorn/testkit'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  createPool,
  expungeMessage,
  isOfMessage,
  listDeliveries,
  migrate,
  newDeliveryId,
  type Pool,
} from '../src/index.ts'

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

const first64 = (id: string) => id.slice(0, 18)

/** A message with the same first 64 bits as another. */
const sibling = (id: string) => first64(id) + newUuid().slice(18)

async function newIds(message: string, count: number): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(
    `SELECT ${newDeliveryId('$1::uuid')} AS id FROM generate_series(1, $2)`,
    [message, count],
  )
  return rows.map(({ id }) => id)
}

async function isOf(delivery: string, of: string, message: string): Promise<boolean> {
  const { rows } = await pool.query(
    `SELECT ${isOfMessage('d', '$3::uuid')} AS yes FROM (SELECT $1::uuid AS id, $2::uuid AS message_id) AS d`,
    [delivery, of, message],
  )
  return rows[0].yes
}

async function addPending(messages: readonly string[]): Promise<void> {
  await pool.query(
    `INSERT INTO deliveries_pending (id, state, message_id, endpoint_id, owner_id, event_type, due_at, wake_at)
     SELECT ${newDeliveryId('id')}, 'pending', id, uuidv7(), uuidv7(), 'a', now(), now()
     FROM unnest($1::uuid[]) AS id`,
    [messages],
  )
}

test('a delivery has the first 64 bits of its message, the variant of a UUID, and no other has its id', async () => {
  const message = newUuid()
  const ids = await newIds(message, 1_000)
  expect(new Set(ids).size).toBe(1_000)
  for (const id of ids) {
    expect(first64(id)).toBe(first64(message))
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  }
})

test('the range of a message has the first and the last id that it may give, and none beside them', async () => {
  const message = '019ac000-0000-7abc-8000-00000000000f'
  const within = ['019ac000-0000-7abc-0000-000000000000', '019ac000-0000-7abc-ffff-ffffffffffff']
  const beside = ['019ac000-0000-7abb-ffff-ffffffffffff', '019ac000-0000-7abd-0000-000000000000']
  for (const id of within) expect(await isOf(id, message, message)).toBe(true)
  for (const id of beside) expect(await isOf(id, message, message)).toBe(false)
  expect(await isOf(within[0]!, sibling(message), message)).toBe(false)
})

test('two messages that share these bits have their own deliveries, and each is expunged without the other', async () => {
  const message = newUuid()
  const other = sibling(message)
  await addPending([message, message, other])
  await pool.query(
    `INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
     SELECT id, uuidv7(), 'a', now(), 1, 'secret' FROM unnest($1::uuid[]) AS id`,
    [[message, other]],
  )
  const states = async (messageId: string) => {
    const { items } = await listDeliveries(pool, { messageId }, { limit: 10 })
    expect(items.every((item) => item.messageId === messageId)).toBe(true)
    return items.map(({ state }) => state)
  }
  expect(await states(message)).toEqual(['pending', 'pending'])
  expect(await states(other)).toEqual(['pending'])
  expect(await expungeMessage(pool, message)).toEqual({ messages: 1, cancelled: 2 })
  expect(await states(message)).toEqual(['cancelled', 'cancelled'])
  expect(await states(other)).toEqual(['pending'])
})

test('a delivery whose id would not be found by its message is refused', async () => {
  await expect(
    pool.query(
      `INSERT INTO deliveries_pending (id, state, message_id, endpoint_id, owner_id, event_type, due_at, wake_at)
       VALUES (uuidv7(interval '1 second'), 'pending', uuidv7(), uuidv7(), uuidv7(), 'a', now(), now())`,
    ),
  ).rejects.toThrow('deliveries_pending_id_of_message')
})

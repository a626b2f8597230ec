import { createDatabase, type TestDatabase } from '@posthorn/testkit'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  createPool,
  type DeliveryFilter,
  listDeliveries,
  listMessages,
  type MessageFilter,
  migrate,
  newDeliveryId,
  type Pool,
} from '../src/index.ts'

/** More than is looked at for one page. */
const MESSAGES = 30_000
const OWNERS = 3

let database: TestDatabase
let pool: Pool
let owners: string[]
let messages: string[]

beforeAll(async () => {
  database = await createDatabase()
  pool = createPool(database.url)
  await migrate(pool)
  const { rows } = await pool.query(
    `INSERT INTO owners (id, uid) SELECT uuidv7(), 'owner-' || n FROM generate_series(1, ${OWNERS}) n RETURNING id`,
  )
  owners = rows.map(({ id }) => id)
  // The type `rare` is that of one message in 5,000, `oldest` that of the first; one delivery in 1,000 is dead.
  await pool.query(
    `WITH made AS (
       INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
       SELECT uuidv7(), ($1::uuid[])[1 + n % ${OWNERS}],
         CASE WHEN n = 1 THEN 'oldest' WHEN n % 5000 = 0 THEN 'rare' ELSE 'common' END, now(), 1, ''
       FROM generate_series(1, ${MESSAGES}) n RETURNING id, owner_id, event_type
     )
     INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, ended_at)
     SELECT ${newDeliveryId('id')}, (CASE WHEN row_number() OVER () % 1000 = 0 THEN 'dead' ELSE 'delivered' END)::delivery_state,
       id, owner_id, owner_id, event_type, now() FROM made`,
    [owners],
  )
  messages = (await pool.query('SELECT id FROM messages WHERE event_type = $1', ['rare'])).rows.map(
    ({ id }) => id,
  )
})
afterAll(async () => {
  await pool.end()
  await database.drop()
})

/** Page by page until there is none, and how many pages that were. */
async function readAll<T extends { id: string }>(
  list: (page: { limit: number; cursor?: string }) => Promise<{ items: T[]; next: string | null }>,
  limit: number,
): Promise<{ ids: string[]; pages: number }> {
  const ids: string[] = []
  let pages = 0
  let next: string | null | undefined
  while (next !== null) {
    const page = await list({ limit, ...(next !== undefined && { cursor: next }) })
    expect(page.items.length).toBeLessThanOrEqual(limit)
    ids.push(...page.items.map(({ id }) => id))
    next = page.next
    pages += 1
  }
  return { ids, pages }
}

async function idsWhere(table: string, condition: string, values: unknown[]): Promise<string[]> {
  const { rows } = await pool.query(`SELECT id FROM ${table} WHERE ${condition} ORDER BY id DESC`, values)
  return rows.map(({ id }) => id)
}

test('all messages that fit are listed once, however few they are', async () => {
  const [owner] = owners
  const cases: [filter: MessageFilter, condition: string, values: unknown[]][] = [
    [{}, 'true', []],
    [{ eventType: 'rare' }, 'event_type = $1', ['rare']],
    [{ eventType: 'oldest' }, 'event_type = $1', ['oldest']],
    [{ eventType: 'unused' }, 'false', []],
    [{ ownerId: owner! }, 'owner_id = $1', [owner]],
    [{ ownerId: owner!, eventType: 'rare' }, 'owner_id = $1 AND event_type = $2', [owner, 'rare']],
  ]
  for (const [filter, condition, values] of cases) {
    const { ids } = await readAll((page) => listMessages(pool, filter, page), 250)
    expect(ids, JSON.stringify(filter)).toEqual(await idsWhere('messages', condition, values))
  }
})

test('all deliveries that fit are listed once, by each filter and by several', async () => {
  const [owner] = owners
  const cases: [filter: DeliveryFilter, condition: string, values: unknown[]][] = [
    [{ state: 'delivered' }, 'state = $1', ['delivered']],
    [{ state: 'dead' }, 'state = $1', ['dead']],
    [{ state: 'pending' }, 'false', []],
    [{ state: 'delivered', eventType: 'rare' }, "state = 'delivered' AND event_type = $1", ['rare']],
    [{ ownerId: owner!, state: 'dead' }, "owner_id = $1 AND state = 'dead'", [owner]],
    [{ endpointId: owner!, eventType: 'rare' }, 'endpoint_id = $1 AND event_type = $2', [owner, 'rare']],
    [{ messageId: messages[0]!, ownerId: owner! }, 'message_id = $1 AND owner_id = $2', [messages[0], owner]],
  ]
  for (const [filter, condition, values] of cases) {
    const { ids } = await readAll((page) => listDeliveries(pool, filter, page), 250)
    expect(ids, JSON.stringify(filter)).toEqual(await idsWhere('deliveries', condition, values))
  }
})

test('a page is full where enough fits, and the last one says so', async () => {
  const first = await listMessages(pool, { eventType: 'common' }, { limit: 100 })
  expect(first.items).toHaveLength(100)
  expect(first.next).toBe(first.items.at(-1)!.id)
  const rare = messages.length
  const { items, next } = await listMessages(pool, { ownerId: owners[0]! }, { limit: MESSAGES })
  expect(items).toHaveLength(MESSAGES / OWNERS)
  expect(next).toBeNull()
  expect(rare).toBe(MESSAGES / 5_000)
})

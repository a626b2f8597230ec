import { cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { lowestId } from '@posthorn/contracts'
import { createDatabase, spawnNode, type TestDatabase } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  createPool,
  ensurePartitions,
  expungeMessage,
  listAttempts,
  listDeliveries,
  makeDue,
  migrate,
  type Pool,
} from '../src/index.ts'

let database: TestDatabase
let pool: Pool
let directory: string
let migrations: URL

beforeEach(async () => {
  database = await createDatabase()
  pool = createPool(database.url)
  directory = await mkdtemp(join(tmpdir(), 'posthorn-migrations-'))
  await cp(new URL('../../../prisma/migrations', import.meta.url), directory, { recursive: true })
  migrations = pathToFileURL(`${directory}/`)
})
afterEach(async () => {
  await pool.end()
  await database.drop()
  await rm(directory, { recursive: true })
})

async function tables(): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1`,
  )
  return rows.map((row) => row.name)
}

/** A database as it was before this migration. */
async function migrateUntil(name: string): Promise<void> {
  for (const folder of await readdir(directory)) {
    if (folder >= name && !folder.endsWith('.toml')) await rm(join(directory, folder), { recursive: true })
  }
  await migrate(pool, { directory: migrations })
}

test('an empty database gets every table and the partitions of the days ahead', async () => {
  expect(await migrate(pool)).toEqual([
    '20261121000000_init',
    '20261122000000_replays',
    '20261122000200_retry_policy',
    '20261122000300_endpoint_health',
    '20261122000400_operational_events',
    '20261122000500_rate_limit',
    '20261125000100_last_attempt_in_delivery',
    '20261125000200_api_keys_and_audit',
    '20261125000210_rate_counts',
    '20261125000300_secrets_at_rest',
    '20261125000310_expunge',
    '20261125000400_endpoint_tls',
    '20261126000100_delivery_ids',
    '20261126000200_timings',
  ])
  expect(await tables()).toEqual([
    '_prisma_migrations',
    'api_keys',
    'attempts',
    'audit_log',
    'deliveries',
    'endpoint_health',
    'endpoint_pace',
    'endpoint_secrets',
    'endpoints',
    'event_types',
    'idempotency_keys',
    'messages',
    'operational_events',
    'owner_keys',
    'owners',
    'rate_counts',
    'replays',
    'shared_secrets',
  ])
  const inAWeek = lowestId(Date.now() + 6 * 86_400_000)
  const { rows } = await pool.query(
    `INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
     VALUES ($1, $1, 'a', now(), 0, '') RETURNING tableoid::regclass::text AS partition`,
    [inAWeek],
  )
  expect(rows[0].partition).toMatch(/^messages_\d{8}$/)
})

test('a second run finds nothing to do', async () => {
  await migrate(pool)
  expect(await migrate(pool)).toEqual([])
})

test('twenty processes that start at once make one database', async () => {
  const script = fileURLToPath(new URL('./migrate-process.ts', import.meta.url))
  const processes = Array.from({ length: 20 }, () =>
    spawnNode(script, [], { env: { DATABASE_URL: database.url } }),
  )
  const exits = await Promise.all(processes.map((process) => process.exited))
  expect(exits.map((exit) => exit.code)).toEqual(Array(20).fill(0))
  const applied = processes.map((process) => process.stdout()).filter((text) => text.includes('_init'))
  expect(applied).toHaveLength(1)
})

test('a migration that was edited after it was applied stops the start and is named', async () => {
  await migrate(pool, { directory: migrations })
  await writeFile(new URL('20261121000000_init/migration.sql', migrations), '-- other\n')
  await expect(migrate(pool, { directory: migrations })).rejects.toMatchObject({
    code: 'migration_edited',
    message: expect.stringContaining('20261121000000_init'),
  })
})

test('the waits that endpoints had become their retry policies', async () => {
  await migrateUntil('20261122000200_retry_policy')
  const id = lowestId(Date.now())
  await pool.query('INSERT INTO owners (id, uid) VALUES ($1, $2)', [id, 'acme'])
  const add = (uid: string, retryDelaysMs: number[] | null) =>
    pool.query(
      `INSERT INTO endpoints (id, owner_id, uid, url, retry_delays_ms)
       VALUES (uuidv7(), $1, $2, 'https://example.com', $3)`,
      [id, uid, retryDelaysMs],
    )
  await add('its own', [5_000, 2_592_000_000 / 2])
  await add('of the platform', [])
  await add('of the platform too', null)
  await migrate(pool)
  const { rows } = await pool.query('SELECT uid, retry_policy AS policy FROM endpoints ORDER BY uid')
  expect(rows).toEqual([
    { uid: 'its own', policy: { delaysMs: [5_000, 1_296_000_000] } },
    { uid: 'of the platform', policy: null },
    { uid: 'of the platform too', policy: null },
  ])
})

test('attempts that were logged before deliveries had their last ones stay in the log of attempts', async () => {
  await migrateUntil('20261125000100_last_attempt_in_delivery')
  const made = await pool.query<{ id: string }>(
    `WITH made AS (
       INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
       SELECT uuidv7(ago), uuidv7(), 'a', now(), 1, ''
       FROM unnest(ARRAY[interval '0', interval '-1 day']) AS ago RETURNING *)
     INSERT INTO deliveries (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at)
     SELECT uuidv7(uuid_extract_timestamp(id) - now()), 'dead', id, uuidv7(), owner_id, 'a', 2, now()
     FROM made RETURNING id`,
  )
  await pool.query(
    `INSERT INTO attempts (delivery_id, number, id, started_at, duration_ms, outcome, status, detail, timings,
       response_headers, response_body, response_body_truncated)
     SELECT id, n, uuidv7(), '2026-11-25 12:00Z', n * 10, 'rejected', 500 + n, 'why', t.timings,
       '[["a","b"]]', 'half', n = 2
     FROM unnest($1::uuid[]) AS id, (VALUES
       (1, '{"dnsMs":1,"connectMs":2.5,"tlsMs":3.25,"firstByteMs":9.07,"totalMs":10.01}'::json), (2, NULL)) AS t (n, timings)`,
    [made.rows.map(({ id }) => id)],
  )
  const days = async () =>
    (
      await pool.query<{ day: string }>(
        `SELECT inhrelid::regclass::text AS day FROM pg_inherits WHERE inhparent = 'attempts'::regclass ORDER BY 1`,
      )
    ).rows.map(({ day }) => day)
  const before = await days()
  expect((await migrate(pool))[0]).toBe('20261125000100_last_attempt_in_delivery')
  expect(await days()).toEqual(before)
  const { rows: deliveries } = await pool.query<{ id: string }>('SELECT id FROM deliveries')
  expect(deliveries).toHaveLength(2)
  for (const { id } of deliveries) {
    const attempts = await listAttempts(pool, id, { limit: 10 })
    expect(attempts).toEqual(
      [1, 2].map((number) => ({
        ...{ number, startedAt: new Date('2026-11-25T12:00:00Z') },
        ...(number === 1
          ? { dnsMs: 1, connectMs: 2.5, tlsMs: 3.25, firstByteMs: 9.07, durationMs: 10.01 }
          : { dnsMs: null, connectMs: null, tlsMs: null, firstByteMs: null, durationMs: 20 }),
        ...{ outcome: 'rejected', status: 500 + number, detail: 'why' },
        ...{ responseHeaders: [['a', 'b']], responseBody: Buffer.from('half') },
        responseBodyTruncated: number === 2,
      })),
    )
    expect(await makeDue(pool, id, 0)).toBe(true)
    expect(await listAttempts(pool, id, { limit: 10 })).toEqual(attempts)
    // Into a day that was there before.
    const { rows } = await pool.query(
      `INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome)
       VALUES ($1, 3, now(), 1, 'timeout') RETURNING tableoid::regclass::text AS day, outcome`,
      [id],
    )
    expect(rows).toEqual([{ day: expect.toBeOneOf(before), outcome: 'timeout' }])
  }
})

test('deliveries from before are found by their message, are erased with it, and keep their attempts', async () => {
  await migrateUntil('20261126000100_delivery_ids')
  // Each message has a delivery in each state, and those of the older one were made a day after it.
  await pool.query(
    `WITH made AS (
       INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
       SELECT uuidv7(ago), uuidv7(), 'a', now(), 2, 'secret'
       FROM unnest(ARRAY[interval '0', interval '-1 day']) AS ago RETURNING *
     ), pending AS (
       INSERT INTO deliveries_pending (id, state, message_id, endpoint_id, owner_id, event_type, attempts, due_at, wake_at)
       SELECT uuidv7(), 'pending', id, uuidv7(), owner_id, 'a', 1, now(), now() FROM made RETURNING id
     ), ended AS (
       INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at,
         status, duration_ms, started_at, outcome, response_headers, response_body)
       SELECT uuidv7(), 'delivered', id, uuidv7(), owner_id, 'a', 2, now(), 200, 20, now(), 'delivered',
         '[["a","secret"]]', 'secret'
       FROM made RETURNING id
     )
     INSERT INTO attempts (delivery_id, number, duration_ms, started_at, outcome, status, response_body)
     SELECT id, 1, 10, now(), 'rejected', 500, 'secret' FROM (TABLE pending UNION ALL TABLE ended) AS d`,
  )
  const { rows: messages } = await pool.query<{ id: string }>('SELECT id FROM messages')
  const ofMessage = async (id: string) =>
    (
      await pool.query<{ state: string; attempts: string }>(
        `SELECT d.state::text, string_agg(a.number || ' ' || a.status || ' ' || a.duration_ms, ', ' ORDER BY a.number) AS attempts
         FROM deliveries d JOIN attempts_all a ON a.delivery_id = d.id
         WHERE d.message_id = $1 GROUP BY d.id, d.state ORDER BY 1`,
        [id],
      )
    ).rows
  const logged = [
    { state: 'pending', attempts: '1 500 10' },
    { state: 'delivered', attempts: '1 500 10, 2 200 20' },
  ].toSorted((a, b) => (a.state < b.state ? -1 : 1))
  for (const { id } of messages) expect(await ofMessage(id)).toEqual(logged)
  await migrate(pool)
  expect(messages).toHaveLength(2)
  for (const { id } of messages) {
    expect(await ofMessage(id)).toEqual(logged)
    const { items } = await listDeliveries(pool, { messageId: id }, { limit: 10 })
    expect(items.map(({ state }) => state).toSorted()).toEqual(['delivered', 'pending'])
    expect(await expungeMessage(pool, id)).toEqual({ messages: 1, cancelled: 1 })
  }
  const { rows: left } = await pool.query(
    'SELECT d::text FROM deliveries d UNION ALL SELECT a::text FROM attempts a UNION ALL SELECT m::text FROM messages m',
  )
  expect(left).toHaveLength(10)
  expect(JSON.stringify(left)).not.toContain(Buffer.from('secret').toString('hex'))
  expect(JSON.stringify(left)).not.toContain('secret')
})

test('a replay that runs takes what is left, whatever ids its deliveries get', async () => {
  await migrateUntil('20261126000100_delivery_ids')
  const { rows } = await pool.query<{ endpoint: string; last: string }>(
    `WITH owner AS (INSERT INTO owners (id, uid) VALUES (uuidv7(), 'acme') RETURNING id
     ), endpoint AS (
       INSERT INTO endpoints (id, owner_id, url, event_types) SELECT uuidv7(), id, 'https://example.com', '{a}' FROM owner
       RETURNING id, owner_id
     ), made AS (
       INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
       SELECT uuidv7(interval '-1 hour'), owner_id, 'a', now(), 1, '' FROM endpoint RETURNING id
     ), delivery AS (
       INSERT INTO deliveries (id, state, message_id, endpoint_id, owner_id, event_type, ended_at)
       SELECT uuidv7(), 'dead', m.id, e.id, e.owner_id, 'a', now() FROM made m, endpoint e RETURNING id, endpoint_id
     ), replay AS (
       INSERT INTO replays (id, owner_id, endpoint_id, "after", selection, event_types, per_second, running_digest,
         total, position)
       SELECT uuidv7(), owner_id, id, '2026-11-20 12:00:00.123Z', 'dead', '{}', 1, 'digest', 1,
         uuidv7(interval '-1 minute') FROM endpoint
     )
     SELECT endpoint_id AS endpoint, id AS last FROM delivery`,
  )
  await migrate(pool)
  const { rows: replays } = await pool.query('SELECT position FROM replays WHERE endpoint_id = $1', [
    rows[0]!.endpoint,
  ])
  expect(replays).toEqual([{ position: lowestId(Date.parse('2026-11-20T12:00:00.123Z')) }])
})

test('a migration that fails leaves nothing of itself behind and says why', async () => {
  await migrate(pool, { directory: migrations })
  const before = await tables()
  const folder = join(directory, '20991231000000_bad')
  await cp(join(directory, '20261121000000_init'), folder, { recursive: true })
  await writeFile(join(folder, 'migration.sql'), 'CREATE TABLE half (id int); CREATE TABLE owners (id int);')
  await expect(migrate(pool, { directory: migrations })).rejects.toMatchObject({
    code: 'migration_failed',
    message: expect.stringContaining('"owners" already exists'),
  })
  expect(await tables()).toEqual(before)
  await writeFile(join(folder, 'migration.sql'), 'CREATE TABLE mended (id int);')
  expect(await migrate(pool, { directory: migrations })).toEqual(['20991231000000_bad'])
})

test('a migration that another tool left unfinished stops the start', async () => {
  await migrate(pool)
  await pool.query(`UPDATE "_prisma_migrations" SET finished_at = NULL, logs = 'boom'`)
  await expect(migrate(pool)).rejects.toMatchObject({ code: 'migration_unfinished', message: /boom/ })
})

test('a database of a newer version is left alone', async () => {
  await migrate(pool)
  await pool.query(`UPDATE "_prisma_migrations" SET migration_name = '20990101000000_later'`)
  await expect(migrate(pool)).rejects.toMatchObject({ code: 'migration_missing' })
})

test('partitions are made once, also by several programs at the same time', async () => {
  await migrate(pool)
  const later = new Date(Date.now() + 30 * 86_400_000)
  const made = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const client = await pool.connect()
      try {
        return await ensurePartitions(client, later)
      } finally {
        client.release()
      }
    }),
  )
  expect(made.filter((names) => names.length > 0)).toHaveLength(1)
  expect(made.flat()).toHaveLength(30)
})

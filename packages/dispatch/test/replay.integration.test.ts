import { createLogger } from '@posthorn/runtime'
import {
  advanceReplay,
  countReplayable,
  type DeliveryState,
  findReplay,
  makeDue,
  newDeliveryId,
  type ReplaySelection,
  releaseReplayed,
  takeReplay,
} from '@posthorn/store'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type AskedReplay, askReplay, type Replays, startReplays } from '../src/index.ts'
import { type DeliveryPath, startDeliveryPath } from './start-delivery-path.ts'

const TYPE = 'pay_info.paid'
const OTHER = 'pay_info.refunded'
const LONG_AGO = new Date('2026-01-01T00:00:00Z')

let path: DeliveryPath
let owners = 0
let owner: string
let ownerId: string
let endpointId: string
/** Their loops are stopped: `once` runs them. */
let replays: Replays[]

beforeAll(async () => {
  path = await startDeliveryPath({ name: 'postgres', queuePrefix: 'unused' })
  await path.addEventTypes(TYPE, OTHER)
  const logger = createLogger({ level: 'fatal', name: 'test' })
  const queue = { enqueue: () => Promise.resolve(), waiting: () => Promise.resolve(0) }
  replays = Array.from({ length: 4 }, () => startReplays({ pool: path.store.pool, queue, logger }))
  await Promise.all(replays.map((each) => each.stop()))
})
beforeEach(async () => {
  await path.store.pool.query('DELETE FROM replays')
  owner = `owner-${owners++}`
  ownerId = await path.addOwner(owner)
  endpointId = (await path.addEndpoint(ownerId, 'http://127.0.0.1:1/', [TYPE, OTHER])).id
})
afterAll(() => path.close())

/** Accepts messages whose deliveries then end in this state. @returns their ids, in order */
async function addEnded(state: DeliveryState, count: number, type = TYPE): Promise<string[]> {
  await Promise.all(
    Array.from({ length: count }, () => path.accept.accept({ owner, type, data: Buffer.from('{}') })),
  )
  const { rows } = await path.store.pool.query<{ id: string }>(
    `WITH gone AS (DELETE FROM deliveries_pending WHERE endpoint_id = $1 RETURNING *), ended AS (
       INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at)
       SELECT id, $2::delivery_state, message_id, endpoint_id, owner_id, event_type, 3, now() FROM gone RETURNING id)
     SELECT id FROM ended ORDER BY id`,
    [endpointId, state],
  )
  return rows.map(({ id }) => id)
}

async function ask(selection: ReplaySelection, more: Partial<AskedReplay> = {}): Promise<string> {
  const result = await askReplay(path.store, asked(selection, more))
  if (result.kind !== 'asked') throw new Error(result.kind)
  return result.replay.id
}

function asked(selection: ReplaySelection, more: Partial<AskedReplay> = {}): AskedReplay {
  const covered = { ownerId, endpointId, after: LONG_AGO, before: null, eventTypes: [], selection }
  return { ...covered, perSecond: 10_000, ...more }
}

const replay = (id: string) => findReplay(path.store.pool, id)
const runAll = () => Promise.all(replays.map((each) => each.once()))

/** Runs it in several processes at once, as it were, until it has ended. */
async function runToEnd(id: string): Promise<void> {
  await expect
    .poll(
      async () => {
        await runAll()
        return (await replay(id))?.state
      },
      { interval: 5, timeout: 30_000 },
    )
    .toBe('done')
}

async function pending(): Promise<string[]> {
  const { rows } = await path.store.pool.query<{ id: string }>(
    'SELECT id FROM deliveries_pending WHERE endpoint_id = $1 ORDER BY id',
    [endpointId],
  )
  return rows.map(({ id }) => id)
}

describe('a replay', () => {
  test.each<[ReplaySelection, DeliveryState[]]>([
    ['dead', ['dead']],
    ['skipped', ['skipped']],
    ['all', ['dead', 'skipped', 'delivered']],
  ])(
    'of %s ones makes due what is %s, as many as were counted, and nothing else',
    async (selection, states) => {
      const ids: string[] = []
      for (const state of ['dead', 'skipped', 'delivered', 'cancelled'] as const) {
        const ended = await addEnded(state, 3)
        if (states.includes(state)) ids.push(...ended)
      }
      expect(await countReplayable(path.store.pool, asked(selection))).toBe(ids.length)
      const id = await ask(selection)
      expect(await replay(id)).toMatchObject({
        state: 'running',
        total: ids.length,
        released: 0,
        endedAt: null,
      })
      await runToEnd(id)
      expect(await pending()).toEqual(ids.sort())
      expect(await replay(id)).toMatchObject({
        total: ids.length,
        released: ids.length,
        endedAt: expect.any(Date),
      })
    },
  )

  test('keeps to its window and its event types', async () => {
    await addEnded('dead', 2)
    await expect.poll(() => Date.now()).toBeGreaterThan(Date.now())
    const after = new Date()
    const within = await addEnded('dead', 2)
    await addEnded('dead', 2, OTHER)
    await expect.poll(() => Date.now()).toBeGreaterThan(Date.now())
    const before = new Date()
    await expect.poll(() => Date.now()).toBeGreaterThan(before.getTime())
    await addEnded('dead', 2)
    const window = { after, before, eventTypes: [TYPE] }
    expect(await countReplayable(path.store.pool, asked('dead', window))).toBe(2)
    await runToEnd(await ask('dead', window))
    expect(await pending()).toEqual(within)
  })

  test('goes through more than it looks at in one statement', async () => {
    // Between them ten thousand that do not fit.
    const first = await addEnded('dead', 1)
    await path.store.pool.query(
      `INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at)
       SELECT ${newDeliveryId('message')}, 'delivered', message, $1, $2, $3, 1, now()
       FROM (SELECT uuidv7() AS message FROM generate_series(1, 20001)) AS m`,
      [endpointId, ownerId, TYPE],
    )
    const last = await addEnded('dead', 1)
    const id = await ask('dead')
    await runToEnd(id)
    expect(await pending()).toEqual([...first, ...last])
    expect(await countReplayable(path.store.pool, asked('all'))).toBe(20_001)
  })

  test('of missing ones makes a delivery for each message that the endpoint never got, once', async () => {
    await addEnded('delivered', 3)
    await addEnded('delivered', 2, OTHER)
    const { id: later } = await path.addEndpoint(ownerId, 'http://127.0.0.1:1/later', [TYPE])
    await path.accept.accept({ owner, type: TYPE, data: Buffer.from('{}') })
    const missing = asked('missing', { endpointId: later })
    expect(await countReplayable(path.store.pool, missing)).toBe(3)
    // Two that overlap and run at the same time.
    const ids = [
      await ask('missing', { endpointId: later, perSecond: 20 }),
      await ask('missing', { endpointId: later, perSecond: 20, after: new Date(1_000) }),
    ]
    for (const id of ids) await runToEnd(id)
    const { rows } = await path.store.pool.query(
      'SELECT count(*)::int, count(DISTINCT message_id)::int AS messages FROM deliveries WHERE endpoint_id = $1',
      [later],
    )
    expect(rows).toEqual([{ count: 4, messages: 4 }])
    expect(await countReplayable(path.store.pool, missing)).toBe(0)
  })

  test('leaves alone what ended after it was asked for, its own results among them', async () => {
    const [id] = await addEnded('dead', 1)
    const slow = await ask('dead', { perSecond: 1 })
    expect(await runAll()).toContainEqual({ released: 1, heldBack: false })
    await addEnded('dead', 0)
    await addEnded('dead', 1)
    await runToEnd(slow)
    expect(await pending()).toEqual([])
    expect(await replay(slow)).toMatchObject({ released: 1 })
    await runToEnd(await ask('dead'))
    expect(await pending()).toContain(id)
  })

  test('passes over what somebody else sent again meanwhile', async () => {
    const [first, ...rest] = await addEnded('dead', 3)
    const id = await ask('dead')
    await makeDue(path.store.pool, first!, 0)
    await runToEnd(id)
    expect(await pending()).toEqual([first, ...rest])
    expect(await replay(id)).toMatchObject({ total: 3, released: 2 })
  })

  test('begins the retry schedule anew, and keeps the attempts', async () => {
    const [id] = await addEnded('dead', 1)
    await runToEnd(await ask('dead'))
    const { rows } = await path.store.pool.query(
      'SELECT attempts, attempts_before_replay AS before FROM deliveries_pending WHERE id = $1',
      [id],
    )
    expect(rows).toEqual([{ attempts: 3, before: 3 }])
  })

  test('releases no more than its cap in any second, by however many processes', async () => {
    await addEnded('dead', 60)
    const id = await ask('dead', { perSecond: 40 })
    await runToEnd(id)
    // The time of release, by the database's clock.
    const { rows } = await path.store.pool.query<{ most: number; count: number }>(
      `SELECT count(*)::int, max(within)::int AS most FROM (
         SELECT count(*) OVER (ORDER BY due_at RANGE BETWEEN CURRENT ROW AND '999 milliseconds' FOLLOWING) AS within
         FROM deliveries_pending WHERE endpoint_id = $1)`,
      [endpointId],
    )
    expect(rows[0]!.count).toBe(60)
    expect(rows[0]!.most).toBeLessThanOrEqual(40)
  })

  test('whose worker dies within a batch has released nothing of it, and goes on', async () => {
    const ids = await addEnded('dead', 3)
    const id = await ask('dead', { perSecond: 20 })
    const client = await path.store.pool.connect()
    try {
      await client.query('BEGIN')
      const taken = await takeReplay(client, [])
      const batch = await releaseReplayed(client, taken!, 2, 5_000)
      expect(batch.deliveryIds).toHaveLength(2)
      await advanceReplay(client, id, batch, 0)
      // While it lives, nobody else touches the replay.
      expect(await runAll()).toEqual(replays.map(() => ({ released: 0, heldBack: false })))
    } finally {
      client.release(true)
    }
    await expect.poll(pending, { timeout: 30_000 }).toEqual([])
    await runToEnd(id)
    expect(await pending()).toEqual(ids)
    expect(await replay(id)).toMatchObject({ released: 3 })
  })

  test('waits while its endpoint is disabled, and goes on when it is enabled', async () => {
    await addEnded('dead', 2)
    const id = await ask('dead')
    const setDisabled = (value: string) =>
      path.store.pool.query(`UPDATE endpoints SET disabled_at = ${value} WHERE id = $1`, [endpointId])
    await setDisabled('now()')
    await runAll()
    expect(await replay(id)).toMatchObject({ state: 'paused', released: 0 })
    expect(await askReplay(path.store, asked('skipped'))).toEqual({ kind: 'endpoint-disabled' })
    await setDisabled('NULL')
    await runToEnd(id)
    expect(await replay(id)).toMatchObject({ released: 2 })
  })

  test('is cancelled with its endpoint', async () => {
    await addEnded('dead', 2)
    const id = await ask('dead')
    await path.store.pool.query('UPDATE endpoints SET deleted_at = now() WHERE id = $1', [endpointId])
    await runAll()
    expect(await replay(id)).toMatchObject({ state: 'cancelled', released: 0, endedAt: expect.any(Date) })
    expect(await pending()).toEqual([])
    expect(await askReplay(path.store, asked('dead'))).toEqual({ kind: 'endpoint-deleted' })
  })

  test('that cannot go on says so, and keeps no other from it', async () => {
    await addEnded('dead', 1)
    const broken = await ask('dead')
    const otherEndpoint = await path.addEndpoint(ownerId, 'http://127.0.0.1:1/', [TYPE])
    const whole = await ask('missing', { endpointId: otherEndpoint.id })
    const guard = `ALTER TABLE replays ADD CONSTRAINT guard CHECK (id <> '${broken}' OR released = 0)`
    await path.store.pool.query(guard)
    await runToEnd(whole)
    expect(await replay(broken)).toMatchObject({
      state: 'running',
      released: 0,
      error: expect.stringContaining('SQLSTATE 23514'),
    })
    expect(await pending()).toEqual([])
    await path.store.pool.query('ALTER TABLE replays DROP CONSTRAINT guard')
    await path.store.pool.query('UPDATE replays SET resume_at = now()')
    await runToEnd(broken)
    expect(await replay(broken)).toMatchObject({ released: 1, error: null })
  })
})

describe('asking twice', () => {
  test('under one key, at the same moment and afterwards, gives one replay', async () => {
    const ids = await addEnded('delivered', 5)
    const again = () => askReplay(path.store, asked('all', { idempotencyKey: 'k' }))
    const results = await Promise.all(Array.from({ length: 8 }, again))
    const found = new Set(results.map((result) => (result.kind === 'asked' ? result.replay.id : result.kind)))
    expect(found.size).toBe(1)
    expect(results.filter((result) => result.kind === 'asked' && !result.again)).toHaveLength(1)
    const [id] = found
    await runToEnd(id!)
    expect(await again()).toMatchObject({ kind: 'asked', again: true, replay: { id, state: 'done' } })
    expect(await pending()).toEqual(ids)
    const other = asked('dead', { idempotencyKey: 'k' })
    expect(await askReplay(path.store, other)).toEqual({ kind: 'conflict', replayId: id })
  })

  test('without a key is refused while the first runs, at whatever pace and in whatever order', async () => {
    await addEnded('dead', 2)
    const types = { eventTypes: [TYPE, OTHER] }
    const id = await ask('dead', types)
    const reversed = { eventTypes: [OTHER, TYPE], perSecond: 7 }
    expect(await askReplay(path.store, asked('dead', reversed))).toEqual({ kind: 'under-way', replayId: id })
    await runToEnd(id)
    expect(await askReplay(path.store, asked('dead', reversed))).toMatchObject({
      kind: 'asked',
      again: false,
    })
  })

  test('for windows that overlap sends each delivery once, while none has ended', async () => {
    const ids = await addEnded('delivered', 50)
    const windows = [LONG_AGO, new Date(1_000), new Date(2_000)]
    const asks = windows.map((after) => ask('all', { after, perSecond: 400 }))
    for (const id of await Promise.all(asks)) await runToEnd(id)
    expect(await pending()).toEqual(ids)
    const { rows } = await path.store.pool.query(
      'SELECT sum(released)::int AS released FROM replays WHERE endpoint_id = $1',
      [endpointId],
    )
    expect(rows).toEqual([{ released: 50 }])
  })
})

import { encodeId, lowestId, uuidTimeMs } from '@posthorn/contracts'
import { expungeMessage, expungeSlice, FIRST_POSITION, findMessage, listAttempts } from '@posthorn/store'
import { describeEachBackend, type Receiver, startReceiver, waitFor } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { askReplay, expungePayloads, retryDelivery } from '../src/index.ts'
import { type DeliveryPath, startDeliveryPath } from './start-delivery-path.ts'

const TYPE = 'pay_info.paid'
const CANARY = 'canary-of-a-payload'
const PATIENCE = { timeout: 60_000, interval: 50 }

describeEachBackend((backend) => {
  let path: DeliveryPath
  let receiver: Receiver
  let ownerId: string

  beforeEach(async () => {
    path = await startDeliveryPath(backend)
    // It says what it got, in a header and in the body.
    receiver = await startReceiver({
      answer: ({ path: at, body }) => ({
        status: at === '/refusing' ? 500 : 200,
        headers: { 'x-echo': body.toString('hex') },
        body: `You sent ${body.toString()}`,
      }),
    })
    await path.addEventTypes(TYPE)
    ownerId = await path.addOwner('acme')
  })
  afterEach(async () => {
    await path.close()
    await receiver.close()
  })

  async function emit(options: { owner?: string; id?: string; data?: string } = {}): Promise<string> {
    const { owner = 'acme', data = CANARY, ...more } = options
    const event = { owner, type: TYPE, data: Buffer.from(JSON.stringify({ data })), ...more }
    const result = await path.accept.accept(event)
    if (result.kind !== 'accepted') throw new Error(result.kind)
    return result.message.id
  }

  const rows = async (text: string, ...values: unknown[]) => (await path.store.pool.query(text, values)).rows
  const states = async () =>
    (await rows('SELECT state::text FROM deliveries ORDER BY 1')).map(({ state }) => state as string)

  /** Every table of every schema, the queue's among them, with bytes as text too. */
  async function expectNoCanary(canary = CANARY): Promise<void> {
    const tables = await rows(
      `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
       WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
    )
    for (const { name } of tables) {
      const dumped = JSON.stringify(await rows(`SELECT t::text FROM ${name} t`))
      for (const encoding of ['latin1', 'hex'] as const) {
        expect(dumped, name).not.toContain(Buffer.from(canary).toString(encoding))
      }
    }
  }

  test('what was delivered stays on record, and nothing of the payload or of the answer with it', async () => {
    await path.addEndpoint(ownerId, receiver.url, [TYPE])
    await path.addEndpoint(ownerId, `${receiver.url}/refusing`, [TYPE])
    // No second attempt comes in between.
    await rows(`UPDATE endpoints SET retry_policy = '{"delaysMs": [3600000]}'`)
    path.startDelivering()
    const id = await emit()
    const other = await emit({ data: 'kept-by-all' })
    await expect
      .poll(async () => (await rows('SELECT attempts FROM deliveries WHERE attempts > 0')).length, PATIENCE)
      .toBe(4)
    const dumped = JSON.stringify(
      await rows('SELECT t::text FROM deliveries t UNION ALL SELECT t::text FROM attempts t'),
    )
    expect(dumped).toContain(Buffer.from(CANARY).toString('hex'))

    expect(await expungeMessage(path.store.pool, id)).toEqual({ messages: 1, cancelled: 1 })
    expect(await expungeMessage(path.store.pool, id)).toEqual({ messages: 0, cancelled: 0 })
    await expectNoCanary()
    const found = await findMessage(path.store.pool, id)
    expect(found).toMatchObject({ id, eventType: TYPE, deliveries: 2, expungedAt: expect.any(Date) })
    expect(found!.payload).toHaveLength(0)
    const deliveries = await rows('SELECT id, state, attempts FROM deliveries WHERE message_id = $1', id)
    expect(deliveries.map(({ state }) => state).toSorted()).toEqual(['cancelled', 'delivered'])
    for (const { id: deliveryId, attempts } of deliveries) {
      const log = await listAttempts(path.store.pool, deliveryId, { limit: 10 })
      expect(log).toHaveLength(attempts)
      for (const attempt of log) {
        expect(attempt).toMatchObject({
          status: expect.any(Number),
          responseBody: null,
          responseHeaders: null,
        })
      }
    }
    // The other one is as it was.
    expect((await findMessage(path.store.pool, other))!.payload.toString()).toContain('kept-by-all')
    expect(await rows('SELECT FROM deliveries_pending WHERE message_id = $1', other)).toHaveLength(1)
  })

  test('it is not sent again, neither by a retry nor by a replay', async () => {
    const { id: endpointId } = await path.addEndpoint(ownerId, receiver.url, [TYPE])
    path.startDelivering()
    const id = await emit()
    await expect.poll(states, PATIENCE).toEqual(['delivered'])
    await expungeMessage(path.store.pool, id)
    const [delivery] = await rows('SELECT id FROM deliveries')
    const { pool } = path.store
    const logger = { warn: () => {} } as never
    expect(await retryDelivery({ pool, queue: path.queue, logger }, delivery.id)).toEqual({
      kind: 'message-expunged',
    })
    const { id: later } = await path.addEndpoint(ownerId, receiver.url, [TYPE])
    const asked = { ownerId, after: new Date(0), before: null, eventTypes: [], perSecond: 1_000 }
    for (const selection of ['all', 'missing'] as const) {
      const of = selection === 'all' ? endpointId : later
      const replay = await askReplay({ pool }, { ...asked, endpointId: of, selection })
      expect(replay).toMatchObject({ kind: 'asked', replay: { total: 0 } })
    }
    expect(await states()).toEqual(['delivered'])
    expect(receiver.requests).toHaveLength(1)
  })

  test('its idempotency key stays: the same event emitted again makes nothing', async () => {
    await path.addEndpoint(ownerId, receiver.url, [TYPE])
    const id = await emit({ id: 'order-7' })
    await expungeMessage(path.store.pool, id)
    expect(await emit({ id: 'order-7' })).toBe(id)
    expect(await rows('SELECT FROM deliveries')).toHaveLength(1)
    await expectNoCanary()
  })

  test('what a worker is sending at that moment is recorded, without the answer, and not tried again', async () => {
    await path.addEndpoint(ownerId, receiver.url, [TYPE])
    await path.addEndpoint(ownerId, `${receiver.url}/refusing`, [TYPE])
    // Its next attempt would be due long after the test.
    await rows(`UPDATE endpoints SET retry_policy = '{"delaysMs": [3600000]}'`)
    const held = receiver.hold()
    path.startDelivering()
    const id = await emit()
    await receiver.waitFor(2)
    expect(await expungeMessage(path.store.pool, id)).toEqual({ messages: 1, cancelled: 0 })
    held.release()
    await expect.poll(states, PATIENCE).toEqual(['cancelled', 'delivered'])
    expect(await rows('SELECT attempts FROM deliveries')).toEqual([{ attempts: 1 }, { attempts: 1 }])
    expect(await rows('SELECT FROM attempts_all')).toHaveLength(2)
    await expectNoCanary()
    expect(receiver.requests).toHaveLength(2)
  })

  test('what waits is cancelled at once, and a job for it sends nothing', async () => {
    await path.addEndpoint(ownerId, receiver.url, [TYPE])
    const id = await emit()
    expect(await expungeMessage(path.store.pool, id)).toEqual({ messages: 1, cancelled: 1 })
    path.startDelivering()
    await emit({ data: 'other' })
    await receiver.waitFor(1)
    await expect.poll(states, PATIENCE).toEqual(['cancelled', 'delivered'])
    expect(receiver.requests).toHaveLength(1)
    expect(receiver.requests[0]!.headers['webhook-id']).not.toBe(encodeId('msg', id))
  })

  test('of an owner everything goes and of others nothing, however often it is interrupted', async () => {
    const otherId = await path.addOwner('globex')
    await path.addEndpoint(ownerId, receiver.url, [TYPE])
    await path.addEndpoint(otherId, receiver.url, [TYPE])
    const mine = await Promise.all(Array.from({ length: 120 }, () => emit()))
    const theirs = await Promise.all(
      Array.from({ length: 3 }, () => emit({ owner: 'globex', data: 'theirs' })),
    )
    const { pool } = path.store
    const both = await Promise.all([
      expungePayloads({ pool }, { ownerId }),
      expungePayloads({ pool }, { ownerId }),
    ])
    expect(both[0]!.messages + both[1]!.messages).toBe(mine.length)
    expect(both[0]!.cancelled + both[1]!.cancelled).toBe(mine.length)
    expect(both.map(({ position }) => position)).toEqual([null, null])
    await expectNoCanary()
    for (const id of theirs) expect((await findMessage(pool, id))!.expungedAt).toBeNull()
    expect(await states()).toEqual([...Array(120).fill('cancelled'), 'pending', 'pending', 'pending'])
  })

  test('by age, only what was accepted before goes', async () => {
    const old = await emit()
    // A millisecond of their own.
    await waitFor(() => Date.now() > uuidTimeMs(old)! + 2)
    const before = new Date()
    await waitFor(() => Date.now() > before.getTime() + 2)
    const young = await emit({ data: 'young' })
    const { pool } = path.store
    expect(await expungeSlice(pool, { before }, FIRST_POSITION)).toMatchObject({
      messages: 1,
      position: null,
    })
    expect((await findMessage(pool, old))!.expungedAt).not.toBeNull()
    expect((await findMessage(pool, young))!.expungedAt).toBeNull()
    // From where it came, it finds what has become old since.
    const later = new Date(Date.now() + 1_000)
    expect(await expungeSlice(pool, { before: later }, lowestId(before.getTime()))).toMatchObject({
      messages: 1,
    })
  })
})

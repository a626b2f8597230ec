import { encodeId, type OperationalEventType, operationalEvents } from '@posthorn/contracts'
import type { HealthPolicy } from '@posthorn/dispatch'
import { verify } from '@posthorn/signing'
import { DISABLED_BY_REQUEST, disableEndpoint, listMessages, updateEndpoint } from '@posthorn/store'
import { describeEachBackend, type ReceivedRequest, type Receiver, startReceiver } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EVENT_TYPE, startTestPlatform, type TestPlatform } from './test-platform.ts'

const HOUR_MS = 3_600_000
const PATIENCE = { timeout: 60_000, interval: 50 }
const ALL = Object.keys(operationalEvents)
/** Opens for as long as a test wants to look at it. */
const PATIENT: Partial<HealthPolicy> = { openMs: HOUR_MS, openMaxMs: HOUR_MS, failuresMax: 3 }

describeEachBackend((backend) => {
  let platform: TestPlatform
  /** Of the owner acme, whose events these are about. */
  let receiver: Receiver
  /** Of those who subscribe to operational events. */
  let operations: Receiver
  let ownerId: string

  beforeEach(async () => {
    platform = await startTestPlatform(backend)
    receiver = await startReceiver()
    operations = await startReceiver()
    ownerId = await platform.addOwner('acme')
  })
  afterEach(async () => {
    await operations.close()
    await receiver.close()
    await platform.close()
  })

  interface Subscriber {
    id: string
    secret: string
  }

  /** acme, another owner and the platform, each with an endpoint for all operational events. */
  async function subscribe(): Promise<{ acme: Subscriber; globex: Subscriber; posthorn: Subscriber }> {
    const add = (id: string, path: string) =>
      platform.addEndpoint(id, `${operations.url}/${path}`, { eventTypes: ALL })
    return {
      acme: await add(ownerId, 'acme'),
      globex: await add(await platform.addOwner('globex'), 'globex'),
      posthorn: await add(await platform.addOwner('posthorn'), 'posthorn'),
    }
  }

  const received = (path: string) => operations.requests.filter((request) => request.path === `/${path}`)
  const typesAt = (path: string) =>
    received(path)
      .map(({ body }) => JSON.parse(body.toString()).type as string)
      .sort()

  /** Both who are to get an event got it, with these types in all, and nobody else did. */
  async function arrived(...types: OperationalEventType[]): Promise<void> {
    await expect.poll(() => typesAt('acme'), PATIENCE).toEqual(types.toSorted())
    await expect.poll(() => typesAt('posthorn'), PATIENCE).toEqual(types.toSorted())
    expect(received('globex')).toEqual([])
  }

  /** The only one of its type at this subscriber, as its receiver reads it. */
  function only(path: string, type: OperationalEventType, { secret }: Subscriber) {
    const found = received(path).filter(({ body }) => JSON.parse(body.toString()).type === type)
    expect(found).toHaveLength(1)
    return read(found[0]!, secret)
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
  function read({ body, headers }: ReceivedRequest, secret: string): any {
    return verify(body, headers, secret)
  }

  function access() {
    return { prisma: platform.store.prisma, vault: platform.vault }
  }

  async function outbox(): Promise<number> {
    const { rows } = await platform.store.pool.query('SELECT count(*)::int AS count FROM operational_events')
    return rows[0].count
  }

  async function makeProbeDue(): Promise<void> {
    await platform.store.pool.query(`WITH h AS (UPDATE endpoint_health SET probe_at = now() WHERE state = 'open')
      UPDATE deliveries_pending SET due_at = now() WHERE attempts = 0`)
  }

  async function emitMany(count: number): Promise<void> {
    for (let n = 1; n <= count; n++) await platform.emit(EVENT_TYPE, { n })
  }

  const about = (endpoint: { id: string }) => ({
    owner: { id: encodeId('own', ownerId), uid: 'acme' },
    endpoint: { id: encodeId('ep', endpoint.id), uid: null, url: `${receiver.url}/hooks` },
  })

  test('message.exhausted says which delivery is dead, to its owner and to the platform, and to nobody else', async () => {
    const subscribers = await subscribe()
    receiver.answer({ status: 500 })
    // A query may hold a secret.
    const endpoint = await platform.addEndpoint(ownerId, `${receiver.url}/hooks?token=t0p-secret`, {
      retryPolicy: { delaysMs: [1] },
    })
    platform.startWorker()
    await emitMany(1)
    await arrived('message.exhausted')
    const dead = (await platform.deliveries()).find(({ state }) => state === 'dead')!
    for (const path of ['acme', 'posthorn'] as const) {
      expect(only(path, 'message.exhausted', subscribers[path])).toEqual({
        type: 'message.exhausted',
        timestamp: expect.any(String),
        data: {
          ...about(endpoint),
          message: encodeId('msg', dead.messageId),
          eventType: EVENT_TYPE,
          delivery: encodeId('dlv', dead.id),
          attempts: 2,
          lastAttempt: { startedAt: expect.any(String), outcome: 'rejected', status: 500 },
        },
      })
    }
    expect(operations.requests.map(({ body }) => body.toString()).join()).not.toContain('t0p-secret')
    await expect.poll(outbox, PATIENCE).toBe(0)
  })

  test('endpoint.failing comes once, however often it is probed, and endpoint.recovered once it is closed', async () => {
    const subscribers = await subscribe()
    receiver.answer({ status: 500 })
    const endpoint = await platform.addEndpoint(ownerId, `${receiver.url}/hooks`, {
      retryPolicy: { delaysMs: [HOUR_MS] },
      inFlightMax: 2,
    })
    const health = () =>
      platform.store.prisma.endpointHealth.findUnique({ where: { endpointId: endpoint.id } })
    // Again until it helps: results that are still on their way write the row as well.
    const probed = async () => {
      await makeProbeDue()
      return await health()
    }
    platform.startWorker({}, PATIENT)
    platform.startWorker({}, PATIENT)
    await emitMany(20)
    await expect.poll(async () => (await health())?.openings, PATIENCE).toBe(1)
    await expect.poll(async () => (await probed())?.openings, PATIENCE).toBeGreaterThan(1)
    await arrived('endpoint.failing')
    receiver.answer({ status: 200 })
    await expect.poll(async () => (await probed())?.state, PATIENCE).toBe('closed')
    await arrived('endpoint.failing', 'endpoint.recovered')
    for (const path of ['acme', 'posthorn'] as const) {
      expect(only(path, 'endpoint.failing', subscribers[path]).data).toEqual({
        ...about(endpoint),
        reason: 'The last attempt was answered with 500.',
        since: expect.any(String),
      })
      expect(only(path, 'endpoint.recovered', subscribers[path]).data).toEqual({
        ...about(endpoint),
        reason: 'It takes deliveries again.',
        since: expect.any(String),
      })
    }
  })

  test('endpoint.disabled says why, and endpoint.recovered that it was enabled again', async () => {
    const subscribers = await subscribe()
    receiver.answer({ status: 410 })
    const endpoint = await platform.addEndpoint(ownerId, `${receiver.url}/hooks`)
    platform.startWorker()
    await emitMany(1)
    await arrived('endpoint.disabled', 'message.exhausted')
    const { disabledAt, disabledReason } = await platform.store.prisma.endpoint.findUniqueOrThrow({
      where: { id: endpoint.id },
    })
    expect(only('acme', 'endpoint.disabled', subscribers.acme).data).toEqual({
      ...about(endpoint),
      reason: disabledReason,
      since: disabledAt!.toISOString(),
    })
    await updateEndpoint(access(), { ownerId, id: endpoint.id }, { enabled: true })
    await arrived('endpoint.disabled', 'endpoint.recovered', 'message.exhausted')
    expect(only('posthorn', 'endpoint.recovered', subscribers.posthorn).data).toMatchObject({
      ...about(endpoint),
      reason: 'It was enabled by request.',
    })
  })

  test('what a person disables and enables is no event', async () => {
    await subscribe()
    const endpoint = await platform.addEndpoint(ownerId, receiver.url)
    const key = { ownerId, id: endpoint.id }
    await updateEndpoint(access(), key, { enabled: false })
    await updateEndpoint(access(), key, { enabled: true })
    await updateEndpoint(access(), key, { enabled: true })
    expect(await outbox()).toBe(0)
  })

  test('disabling what Posthorn disabled keeps its reason and time, and enabling it is still a recovery', async () => {
    await subscribe()
    const endpoint = await platform.addEndpoint(ownerId, receiver.url)
    const key = { ownerId, id: endpoint.id }
    const { pool, prisma } = platform.store
    const row = () => prisma.endpoint.findUniqueOrThrow({ where: { id: endpoint.id } })
    await disableEndpoint(pool, endpoint.id, 'It is gone.')
    const before = await row()
    await updateEndpoint(access(), key, { enabled: false, description: 'gone' })
    const after = await row()
    expect(after).toMatchObject({ disabledReason: 'It is gone.', description: 'gone' })
    expect(after.disabledAt).toEqual(before.disabledAt)
    await updateEndpoint(access(), key, { enabled: true })
    expect((await row()).disabledAt).toBeNull()
    await updateEndpoint(access(), key, { enabled: false })
    expect(await row()).toMatchObject({ disabledReason: DISABLED_BY_REQUEST })
    platform.startWorker()
    await arrived('endpoint.disabled', 'endpoint.recovered')
  })

  test('where nobody subscribes, nothing is written', async () => {
    await platform.addOwner('posthorn')
    await platform.store.pool.query(`
      CREATE TABLE written (type text);
      CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO written VALUES (NEW.type); RETURN NULL; END';
      CREATE TRIGGER note AFTER INSERT ON operational_events FOR EACH ROW EXECUTE FUNCTION note()`)
    // Another owner's endpoint, and one that was deleted, do not count.
    await platform.addEndpoint(await platform.addOwner('globex'), operations.url, { eventTypes: ALL })
    const deleted = await platform.addEndpoint(ownerId, operations.url, { eventTypes: ALL })
    await platform.store.prisma.endpoint.update({
      where: { id: deleted.id },
      data: { deletedAt: new Date() },
    })
    const gone = await platform.addEndpoint(ownerId, receiver.url)
    const failing = await platform.addEndpoint(ownerId, `${receiver.url}/failing`)
    receiver.answer(({ path }) => ({ status: path === '/failing' ? 500 : 410 }))
    platform.startWorker({}, PATIENT)
    await emitMany(5)
    const health = () =>
      platform.store.prisma.endpointHealth.findUnique({ where: { endpointId: failing.id } })
    await expect.poll(async () => (await health())?.openings, PATIENCE).toBe(1)
    await expect
      .poll(async () => (await platform.deliveries()).some(({ state }) => state === 'dead'), PATIENCE)
      .toBe(true)
    await updateEndpoint(access(), { ownerId, id: gone.id }, { enabled: true })
    await updateEndpoint(access(), { ownerId, id: failing.id }, { enabled: true })
    const { rows } = await platform.store.pool.query('SELECT * FROM written')
    expect(rows).toEqual([])
    expect(operations.requests).toEqual([])
  })

  test('an operational endpoint that takes nothing makes no events of its own deliveries', async () => {
    const watching = await platform.addEndpoint(ownerId, operations.url, {
      eventTypes: ALL,
      retryPolicy: { delaysMs: [1, 1] },
    })
    operations.answer({ status: 500 })
    receiver.answer({ status: 500 })
    await platform.addEndpoint(ownerId, receiver.url, { retryPolicy: { delaysMs: [1] } })
    platform.startWorker({}, { openMs: 1, openMaxMs: 1 })
    const ended = async () => {
      const deliveries = await platform.deliveries()
      const isOver = (await outbox()) === 0 && deliveries.every(({ state }) => state === 'dead')
      return isOver && deliveries.length
    }
    // Each event that dies is told once; that this is not heard either is not told.
    await emitMany(1)
    await expect.poll(ended, PATIENCE).toBe(2)
    await emitMany(1)
    await expect.poll(ended, PATIENCE).toBeGreaterThanOrEqual(4)
    const told = (await listMessages(platform.store.pool, { eventType: 'message.exhausted' }, { limit: 100 }))
      .items
    expect(told).toHaveLength(2)
    // The endpoint that does not listen began to fail, once.
    await expect
      .poll(
        async () =>
          (await platform.store.prisma.endpointHealth.findUnique({ where: { endpointId: watching.id } }))
            ?.openings,
        PATIENCE,
      )
      .toBeGreaterThan(0)
    await expect.poll(ended, PATIENCE).toBeGreaterThanOrEqual(5)
    const failing = (
      await listMessages(platform.store.pool, { eventType: 'endpoint.failing' }, { limit: 100 })
    ).items
    expect(failing).toHaveLength(1)
  })

  test('an event that was accepted and not yet taken out when the worker ended arrives once', async () => {
    await subscribe()
    const { pool } = platform.store
    // Nothing after acceptance happens, as if every worker were killed there.
    await pool.query(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'killed'; END $$;
      CREATE TRIGGER refuse BEFORE DELETE ON operational_events FOR EACH ROW EXECUTE FUNCTION refuse()`)
    const endpoint = await platform.addEndpoint(ownerId, receiver.url)
    await disableEndpoint(pool, endpoint.id, 'It is gone.')
    platform.startWorker()
    platform.startWorker()
    await arrived('endpoint.disabled')
    expect(await outbox()).toBe(1)
    await pool.query('DROP TRIGGER refuse ON operational_events')
    await expect.poll(outbox, PATIENCE).toBe(0)
    // Whatever was accepted again would arrive before this.
    await updateEndpoint(access(), { ownerId, id: endpoint.id }, { enabled: true })
    await arrived('endpoint.disabled', 'endpoint.recovered')
    expect((await listMessages(pool, {}, { limit: 10 })).items).toHaveLength(4)
  })

  test('an owner that is the platform gets an event of its own once', async () => {
    const id = await platform.addOwner('posthorn')
    await platform.addEndpoint(id, `${operations.url}/posthorn`, { eventTypes: ALL })
    const endpoint = await platform.addEndpoint(id, receiver.url)
    await disableEndpoint(platform.store.pool, endpoint.id, 'It is gone.')
    platform.startWorker()
    await expect.poll(() => typesAt('posthorn'), PATIENCE).toEqual(['endpoint.disabled'])
    await expect.poll(outbox, PATIENCE).toBe(0)
    expect((await listMessages(platform.store.pool, {}, { limit: 10 })).items).toHaveLength(1)
  })
})

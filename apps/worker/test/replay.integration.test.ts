import { encodeId } from '@posthorn/contracts'
import { type AskedReplay, askReplay } from '@posthorn/dispatch'
import { countReplayable, findReplay, type ReplaySelection } from '@posthorn/store'
import { describeEachBackend, ownRedisAvailable, type Receiver, startReceiver } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startKillField } from './start-kill-field.ts'
import { EVENT_TYPE, startTestPlatform, type TestPlatform } from './test-platform.ts'

const OTHER = 'pay_info.refunded'
const PATIENCE = { timeout: 30_000 }
/** A lease, and the start of a process. */
const LONG_PATIENCE = { timeout: 45_000, interval: 100 }

describeEachBackend((backend) => {
  let platform: TestPlatform
  let receiver: Receiver
  let ownerId: string

  beforeEach(async () => {
    platform = await startTestPlatform(backend)
    await platform.store.prisma.eventType.create({ data: { name: OTHER } })
    receiver = await startReceiver()
    ownerId = await platform.addOwner('acme')
  })
  afterEach(async () => {
    await receiver.close()
    await platform.close()
  })

  function asked(
    selection: ReplaySelection,
    endpointId: string,
    more: Partial<AskedReplay> = {},
  ): AskedReplay {
    const covered = { ownerId, endpointId, after: new Date(0), before: null, eventTypes: [], selection }
    return { ...covered, perSecond: 10_000, ...more }
  }

  async function ask(...args: Parameters<typeof asked>): Promise<string> {
    const result = await askReplay(platform.store, asked(...args))
    if (result.kind !== 'asked') throw new Error(result.kind)
    return result.replay.id
  }

  /** @returns their ids, as receivers see them */
  async function emitMany(count: number, type = EVENT_TYPE): Promise<string[]> {
    const results = await Promise.all(Array.from({ length: count }, (_, n) => platform.emit(type, { n })))
    return results.map((result) => {
      if (result.kind !== 'accepted') throw new Error(result.kind)
      return encodeId('msg', result.message.id)
    })
  }

  const replay = (id: string) => findReplay(platform.store.pool, id)

  async function states(): Promise<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (const { state } of await platform.deliveries()) counts[state] = (counts[state] ?? 0) + 1
    return counts
  }

  function received(path = '/'): string[] {
    return receiver.requests
      .filter((request) => request.path === path)
      .map((request) => String(request.headers['webhook-id']))
      .sort()
  }

  test('dead deliveries are sent again, once each, with a retry schedule of their own', async () => {
    const { id: endpointId } = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [1] },
    })
    // The endpoint is there and does not take them: nothing for its breaker.
    receiver.answer({ status: 422 })
    platform.startWorker()
    const ids = await emitMany(20)
    await expect.poll(states, PATIENCE).toEqual({ dead: 20 })
    expect(receiver.requests).toHaveLength(40)

    // It fails once more and is then taken: the second of the schedule's attempts.
    const seen = new Set<string>()
    receiver.answer((request) => {
      const id = String(request.headers['webhook-id'])
      if (seen.has(id)) return { status: 200 }
      seen.add(id)
      return { status: 422 }
    })
    const request = asked('dead', endpointId)
    expect(await countReplayable(platform.store.pool, request)).toBe(20)
    const id = await ask('dead', endpointId)
    await expect.poll(states, PATIENCE).toEqual({ delivered: 20 })
    await expect.poll(() => replay(id), PATIENCE).toMatchObject({ state: 'done', total: 20, released: 20 })
    expect((await platform.deliveries()).every(({ attempts }) => attempts === 4)).toBe(true)
    expect(received()).toEqual([...ids, ...ids, ...ids, ...ids].sort())
    expect(await countReplayable(platform.store.pool, request)).toBe(0)
  })

  test('a replayed delivery that fails its whole schedule again ends dead again', async () => {
    const { id: endpointId } = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [1, 1] },
    })
    receiver.answer({ status: 500 })
    platform.startWorker()
    await emitMany(1)
    await expect.poll(states, PATIENCE).toEqual({ dead: 1 })
    await ask('dead', endpointId)
    await expect
      .poll(async () => (await platform.deliveries())[0], PATIENCE)
      .toMatchObject({ state: 'dead', attempts: 6 })
  })

  test('what an endpoint skipped while it was disabled is sent once it is enabled', async () => {
    const { id: endpointId } = await platform.addEndpoint(ownerId, receiver.url)
    const setDisabled = (disabledAt: Date | null) =>
      platform.store.prisma.endpoint.update({ where: { id: endpointId }, data: { disabledAt } })
    await setDisabled(new Date())
    platform.startWorker()
    const ids = await emitMany(5)
    await expect.poll(states, PATIENCE).toEqual({ skipped: 5 })
    expect(await askReplay(platform.store, asked('skipped', endpointId))).toEqual({
      kind: 'endpoint-disabled',
    })
    await setDisabled(null)
    await ask('skipped', endpointId)
    await expect.poll(states, PATIENCE).toEqual({ delivered: 5 })
    expect(received()).toEqual(ids.sort())
  })

  test('an endpoint made later gets what it missed of its event types, and nothing twice', async () => {
    await platform.addEndpoint(ownerId, `${receiver.url}/first`, { eventTypes: [EVENT_TYPE, OTHER] })
    platform.startWorker()
    const missed = await emitMany(5)
    await emitMany(3, OTHER)
    const later = await platform.addEndpoint(ownerId, `${receiver.url}/later`)
    const own = await emitMany(2)
    await expect.poll(states, PATIENCE).toEqual({ delivered: 12 })
    expect(await countReplayable(platform.store.pool, asked('missing', later.id))).toBe(5)
    const id = await ask('missing', later.id)
    await expect.poll(() => received('/later'), PATIENCE).toEqual([...missed, ...own].sort())
    await expect.poll(() => replay(id), PATIENCE).toMatchObject({ state: 'done', total: 5, released: 5 })
    await expect.poll(states, PATIENCE).toEqual({ delivered: 17 })
    const again = await ask('missing', later.id)
    await expect.poll(() => replay(again), PATIENCE).toMatchObject({ state: 'done', released: 0 })
    expect(received('/first')).toHaveLength(10)
  })

  test('only the window and the event types that were asked for are sent again', async () => {
    const { id: endpointId } = await platform.addEndpoint(ownerId, receiver.url, {
      eventTypes: [EVENT_TYPE, OTHER],
    })
    platform.startWorker()
    const nextMs = () => expect.poll(() => Date.now()).toBeGreaterThan(Date.now() + 1)
    await emitMany(2)
    await nextMs()
    const after = new Date()
    const within = await emitMany(2)
    await emitMany(2, OTHER)
    await nextMs()
    const before = new Date()
    await nextMs()
    await emitMany(2)
    await expect.poll(states, PATIENCE).toEqual({ delivered: 8 })
    receiver.requests.length = 0
    const id = await ask('all', endpointId, { after, before, eventTypes: [EVENT_TYPE] })
    await expect.poll(() => replay(id), PATIENCE).toMatchObject({ state: 'done', released: 2 })
    await expect.poll(states, PATIENCE).toEqual({ delivered: 8 })
    expect(received()).toEqual(within.sort())
  })

  test('a replay goes on in another worker where the one that stopped had come to', async () => {
    const { id: endpointId } = await platform.addEndpoint(ownerId, receiver.url)
    const first = platform.startWorker()
    const ids = await emitMany(60)
    await expect.poll(states, PATIENCE).toEqual({ delivered: 60 })
    receiver.requests.length = 0
    const id = await ask('all', endpointId, { perSecond: 40, idempotencyKey: 'once' })
    await expect.poll(async () => (await replay(id))!.released, PATIENCE).toBeGreaterThan(5)
    await first.close()
    const between = await replay(id)
    expect(between).toMatchObject({ state: 'running' })
    expect(between!.released).toBeLessThan(60)

    platform.startWorker()
    platform.startWorker()
    expect(
      await askReplay(platform.store, asked('all', endpointId, { idempotencyKey: 'once' })),
    ).toMatchObject({ kind: 'asked', again: true, replay: { id } })
    await expect.poll(() => replay(id), PATIENCE).toMatchObject({ state: 'done', released: 60 })
    await expect.poll(states, PATIENCE).toEqual({ delivered: 60 })
    expect(received()).toEqual(ids.sort())
  })

  test('a replay that is asked for again while it runs sends nothing twice', async () => {
    const { id: endpointId } = await platform.addEndpoint(ownerId, receiver.url)
    const worker = platform.startWorker()
    const ids = await emitMany(30)
    await expect.poll(states, PATIENCE).toEqual({ delivered: 30 })
    await worker.close()
    receiver.requests.length = 0
    const first = await ask('all', endpointId)
    expect(await askReplay(platform.store, asked('all', endpointId))).toEqual({
      kind: 'under-way',
      replayId: first,
    })
    // Another one that covers the same deliveries and more.
    const second = await ask('all', endpointId, { after: new Date(1_000) })
    platform.startWorker()
    platform.startWorker()
    for (const id of [first, second]) {
      await expect.poll(() => replay(id), PATIENCE).toMatchObject({ state: 'done' })
    }
    await expect.poll(states, PATIENCE).toEqual({ delivered: 30 })
    expect(received()).toEqual(ids.sort())
  })
})

describeEachBackend((backend) => {
  if (backend.name === 'redis' && !ownRedisAvailable()) return

  test('kill -9 of a worker in the middle of a replay loses nothing, and repeats only what was in flight', async (context) => {
    const field = await startKillField(backend)
    context.onTestFinished(() => field.close())
    const { platform, receiver, ownerId } = field
    const { pool } = platform.store
    const { id: endpointId } = await platform.addEndpoint(ownerId, receiver.url, { inFlightMax: 10 })
    const first = await field.startWorkerProcess()
    const ids = await field.emitMany(80)
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 80 })
    const attempts = async () =>
      new Map((await platform.deliveries()).map((delivery) => [delivery.id, delivery.attempts]))
    const before = await attempts()
    receiver.requests.length = 0
    const received = () => receiver.requests.map((request) => String(request.headers['webhook-id']))

    const hold = receiver.hold()
    const result = await askReplay(platform.store, {
      ...{ ownerId, endpointId, after: new Date(0), before: null, eventTypes: [], selection: 'all' },
      perSecond: 20,
    })
    const id = result.kind === 'asked' ? result.replay.id : ''
    await receiver.waitFor(10)
    first.kill('SIGKILL')
    await first.exited
    const inFlight = received()
    expect(await findReplay(pool, id)).toMatchObject({ state: 'running', total: 80 })
    hold.release()

    await field.startWorkerProcess()
    await expect
      .poll(() => findReplay(pool, id), LONG_PATIENCE)
      .toMatchObject({ state: 'done', released: 80 })
    await expect.poll(field.countStates, LONG_PATIENCE).toEqual({ delivered: 80 })
    expect(received().sort()).toEqual([...ids, ...inFlight].sort())
    // Each was recorded once more than before, and once only.
    expect(await attempts()).toEqual(new Map([...before].map(([delivery, count]) => [delivery, count + 1])))
  })
})

import { listAttempts } from '@posthorn/store'
import {
  describeEachBackend,
  ownRedisAvailable,
  type Receiver,
  startProxy,
  type TestBackend,
} from '@posthorn/testkit'
import { type TestContext, test } from 'vitest'

import { type KillField, startKillField } from './start-kill-field.ts'

/** A lease, the sweep's grace and the start of a few processes, on a machine that has other things to do. */
const PATIENCE = { timeout: 90_000, interval: 100 }

describeEachBackend((backend) => {
  if (backend.name === 'redis' && !ownRedisAvailable()) return

  test.concurrent('kill -9 of a worker loses nothing, and repeats only what was in flight', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { platform, receiver } = field
    await platform.addEndpoint(field.ownerId, receiver.url, { inFlightMax: 10 })
    const hold = receiver.hold()
    const ids = await field.emitMany(40)
    const worker = await field.startWorkerProcess()
    await receiver.waitFor(10)
    worker.kill('SIGKILL')
    await worker.exited
    const inFlight = webhookIds(receiver)
    expect(inFlight).toHaveLength(10)
    hold.release()

    await field.startWorkerProcess()
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 40 })
    expect(new Set(webhookIds(receiver))).toEqual(new Set(ids))
    expect(repeated(webhookIds(receiver)).sort()).toEqual(inFlight.sort())
    expect((await platform.deliveries()).every(({ attempts }) => attempts === 1)).toBe(true)
  })

  test.concurrent('a worker that was paused past its lease changes nothing when it goes on', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { platform, receiver } = field
    await platform.addEndpoint(field.ownerId, receiver.url, { retryPolicy: { delaysMs: [600_000] } })
    const paused = Promise.withResolvers<void>()
    receiver.answer((_, index) => (index === 0 ? { status: 200, until: paused.promise } : { status: 500 }))
    const first = await field.startWorkerProcess()
    await field.emitMany(1)
    await receiver.waitFor(1)
    first.kill('SIGSTOP')
    paused.resolve()

    await field.startWorkerProcess()
    await receiver.waitFor(2, PATIENCE.timeout)
    const delivery = async () => (await platform.deliveries())[0]!
    await expect.poll(delivery, PATIENCE).toMatchObject({ state: 'pending', attempts: 1 })
    const before = await delivery()
    first.kill('SIGCONT')
    // It had its answer in hand, and tried to write it.
    await first.waitForLine(/"fenced":true/)
    expect(await delivery()).toEqual(before)
    const attempts = await listAttempts(platform.store.pool, before.id, { limit: 10 })
    expect(attempts.map(({ number, status }) => ({ number, status }))).toEqual([{ number: 1, status: 500 }])
  })

  test.concurrent('SIGTERM finishes what is in flight, hands the rest back and exits 0', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { platform, receiver } = field
    await platform.addEndpoint(field.ownerId, receiver.url, { inFlightMax: 10 })
    const hold = receiver.hold()
    const ids = await field.emitMany(30)
    const worker = await field.startWorkerProcess()
    await receiver.waitFor(10)
    worker.kill('SIGTERM')
    await worker.waitForLine(/shutting down/)
    hold.release()
    expect(await worker.exited).toEqual({ code: 0, signal: null })
    expect(await field.countStates()).toEqual({ delivered: 10, pending: 20 })
    expect(await field.countHeld()).toBe(0)

    await field.startWorkerProcess()
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 30 })
    // Each once: a stop in order repeats nothing.
    expect(webhookIds(receiver).sort()).toEqual(ids.sort())
  })

  test.concurrent('SIGTERM hands back what does not end, without using up an attempt', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { platform, receiver } = field
    await platform.addEndpoint(field.ownerId, receiver.url)
    receiver.hold()
    await field.emitMany(3)
    const patient = { POSTHORN_ATTEMPT_TIMEOUT: '50s', POSTHORN_LEASE: '60s' }
    const worker = await field.startWorkerProcess(patient)
    await receiver.waitFor(3)
    worker.kill('SIGTERM')
    expect(await worker.exited).toEqual({ code: 0, signal: null })
    expect((await platform.deliveries()).map(({ state, attempts }) => ({ state, attempts }))).toEqual(
      Array.from({ length: 3 }, () => ({ state: 'pending', attempts: 0 })),
    )
    expect(await field.countHeld()).toBe(0)
  })

  test.concurrent('jobs that are lost are made anew from the database', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { platform, receiver } = field
    await platform.addEndpoint(field.ownerId, receiver.url)
    const ids = await field.emitMany(500)
    await expect.poll(() => platform.queue.waiting()).toBeGreaterThan(0)
    // The last jobs may still be on their way: acceptance does not wait for them.
    await expect
      .poll(async () => {
        await field.loseJobs()
        return await platform.queue.waiting()
      }, PATIENCE)
      .toBe(0)

    await field.startWorkerProcess()
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 500 })
    expect(webhookIds(receiver).sort()).toEqual(ids.sort())

    // And a worker that lost them while it ran goes on.
    await field.loseJobs()
    await field.emitMany(1)
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 501 })
  })

  test.concurrent('a database that goes away while delivering loses nothing', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { platform, receiver } = field
    const proxy = await startProxy(platform.database.url)
    context.onTestFinished(() => proxy.close())
    await platform.addEndpoint(field.ownerId, receiver.url, { inFlightMax: 2 })
    receiver.answer({ delayMs: 10 })
    const worker = await field.startWorkerProcess({ DATABASE_URL: proxy.url })
    const ids = await field.emitMany(200)
    await receiver.waitFor(20)
    await proxy.cut()
    await worker.waitForLine(/sweep\.failed/)
    await proxy.restore()
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 200 })
    expect(new Set(webhookIds(receiver))).toEqual(new Set(ids))
    expect(await worker.waitForLine(/sweep\.recovered/)).toBeTruthy()
  })

  test.concurrent('connections that the database ends while delivering lose nothing', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { platform, receiver } = field
    await platform.addEndpoint(field.ownerId, receiver.url, { inFlightMax: 2 })
    receiver.answer({ delayMs: 10 })
    await field.startWorkerProcess()
    const ids = await field.emitMany(200)
    for (const count of [20, 60, 100]) {
      await receiver.waitFor(count, PATIENCE.timeout)
      await field.endConnections()
    }
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 200 })
    expect(new Set(webhookIds(receiver))).toEqual(new Set(ids))
    // BullMQ may notice a lost LISTEN late or never: then every delivery waits for its poll. There is one for
    // deliveries, one for surplus, and one for what is emitted into the queue.
    if (backend.name === 'postgres') await expect.poll(field.countListeners, PATIENCE).toBe(3)
  })

  if (backend.name === 'postgres') return

  test.concurrent('Redis may die while emitting: all is accepted, and arrives once it is back', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { platform, receiver } = field
    await platform.addEndpoint(field.ownerId, receiver.url)
    await field.startWorkerProcess()
    const ids = await field.emitMany(100)
    await field.redis!.kill()
    ids.push(...(await field.emitMany(100)))
    await field.redis!.restart()
    ids.push(...(await field.emitMany(100)))
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 300 })
    expect(new Set(webhookIds(receiver))).toEqual(new Set(ids))
  })
})

async function enter(backend: TestBackend, { onTestFinished }: TestContext): Promise<KillField> {
  const field = await startKillField(backend)
  onTestFinished(() => field.close())
  return field
}

/** Of every request so far. */
function webhookIds(receiver: Receiver): string[] {
  return receiver.requests.map((request) => String(request.headers['webhook-id']))
}

function repeated(ids: string[]): string[] {
  return ids.filter((id, at) => ids.indexOf(id) !== at)
}

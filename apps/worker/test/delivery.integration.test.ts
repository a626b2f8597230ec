import { encodeId } from '@posthorn/contracts'
import { verify } from '@posthorn/signing'
import { listAttempts } from '@posthorn/store'
import { describeEachBackend, type Receiver, startReceiver } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { EVENT_TYPE, startTestPlatform, type TestPlatform } from './test-platform.ts'

describeEachBackend((backend) => {
  let platform: TestPlatform
  let receiver: Receiver
  let ownerId: string

  beforeEach(async () => {
    platform = await startTestPlatform(backend)
    receiver = await startReceiver()
    ownerId = await platform.addOwner('acme')
  })
  afterEach(async () => {
    await receiver.close()
    await platform.close()
  })

  test('an accepted message arrives signed, and its attempt is logged', async () => {
    const { secret } = await platform.addEndpoint(ownerId, receiver.url)
    receiver.answer({ status: 200, body: 'thanks', headers: { 'x-receiver': 'yes' } })
    platform.startWorker()
    const accepted = await platform.emit(EVENT_TYPE, { order_num: '1' })
    expect(accepted).toMatchObject({ kind: 'accepted', again: false, message: { deliveries: 1 } })

    const [request] = await receiver.waitFor(1)
    const id = accepted.kind === 'accepted' ? encodeId('msg', accepted.message.id) : ''
    expect(request!.headers).toMatchObject({ 'webhook-id': id, 'content-type': 'application/json' })
    expect(verify(request!.body, request!.headers, secret)).toMatchObject({
      type: EVENT_TYPE,
      data: { order_num: '1' },
    })

    await expect.poll(async () => (await platform.deliveries()).map((d) => d.state)).toEqual(['delivered'])
    const [delivery] = await platform.deliveries()
    expect(delivery).toMatchObject({ attempts: 1, dueAt: null })
    const [attempt] = await listAttempts(platform.store.pool, delivery!.id, { limit: 10 })
    expect(attempt).toMatchObject({
      number: 1,
      outcome: 'delivered',
      status: 200,
      responseBodyTruncated: false,
    })
    expect(attempt!.responseBody!.toString()).toBe('thanks')
    expect(attempt!.responseHeaders).toContainEqual(['x-receiver', 'yes'])
  })

  test('a refused delivery is retried with the same id and a new signature, then delivered', async () => {
    const { secret } = await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { delaysMs: [10, 10] },
    })
    receiver.answer((_, index) => ({ status: index < 2 ? 500 : 204 }))
    platform.startWorker()
    await platform.emit(EVENT_TYPE, { order_num: '2' })
    const requests = await receiver.waitFor(3)
    expect(new Set(requests.map((request) => request.headers['webhook-id'])).size).toBe(1)
    for (const request of requests) verify(request.body, request.headers, secret)
    await expect
      .poll(async () => (await platform.deliveries())[0])
      .toMatchObject({ state: 'delivered', attempts: 3 })
    const attempts = await listAttempts(platform.store.pool, (await platform.deliveries())[0]!.id, {
      limit: 10,
    })
    expect(attempts.map(({ number, status, outcome }) => ({ number, status, outcome }))).toEqual([
      { number: 1, status: 500, outcome: 'rejected' },
      { number: 2, status: 500, outcome: 'rejected' },
      { number: 3, status: 204, outcome: 'delivered' },
    ])
  })

  test('a delivery that is never taken ends dead, with every attempt in the log', async () => {
    await platform.addEndpoint(ownerId, receiver.url, {
      retryPolicy: { baseMs: 1, factor: 2, maxMs: 10, attempts: 2 },
    })
    receiver.answer({ status: 500 })
    platform.startWorker()
    await platform.emit(EVENT_TYPE, {})
    await expect
      .poll(async () => (await platform.deliveries())[0], { timeout: 20_000 })
      .toMatchObject({ state: 'dead', attempts: 2, dueAt: null })
  })

  test('410 ends the delivery and disables the endpoint; what comes later is skipped', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url)
    receiver.answer({ status: 410 })
    platform.startWorker()
    await platform.emit(EVENT_TYPE, { n: 1 })
    await expect.poll(async () => (await platform.deliveries())[0]?.state).toBe('dead')
    const row = await platform.store.prisma.endpoint.findUniqueOrThrow({ where: { id: endpoint.id } })
    expect(row.disabledAt).not.toBeNull()
    expect(row.disabledReason).toContain('410')
    await platform.emit(EVENT_TYPE, { n: 2 })
    await expect.poll(async () => (await platform.deliveries())[0]?.state).toBe('skipped')
    expect(receiver.requests).toHaveLength(1)
  })

  test('a deleted endpoint cancels what waits for it', async () => {
    const endpoint = await platform.addEndpoint(ownerId, receiver.url)
    await platform.emit(EVENT_TYPE, {})
    await platform.store.prisma.endpoint.update({
      where: { id: endpoint.id },
      data: { deletedAt: new Date() },
    })
    platform.startWorker()
    await expect.poll(async () => (await platform.deliveries())[0]?.state).toBe('cancelled')
    expect(receiver.requests).toHaveLength(0)
  })

  test('a message goes to every endpoint that subscribes to its type, and to no other', async () => {
    await platform.store.prisma.eventType.create({ data: { name: 'pay_info.refunded' } })
    const other = await platform.addOwner('other')
    await platform.addEndpoint(ownerId, `${receiver.url}/a`)
    await platform.addEndpoint(ownerId, `${receiver.url}/b`, {
      eventTypes: ['pay_info.refunded', EVENT_TYPE],
    })
    await platform.addEndpoint(ownerId, `${receiver.url}/c`, { eventTypes: ['pay_info.refunded'] })
    await platform.addEndpoint(other, `${receiver.url}/d`)
    platform.startWorker()
    expect(await platform.emit(EVENT_TYPE, {})).toMatchObject({ message: { deliveries: 2 } })
    await expect
      .poll(async () => (await platform.deliveries()).map((d) => d.state))
      .toEqual(['delivered', 'delivered'])
    expect(receiver.requests.map((request) => request.path).sort()).toEqual(['/a', '/b'])
  })

  test('a hanging endpoint keeps its own deliveries waiting and nobody else’s', async () => {
    const hanging = await startReceiver()
    const hold = hanging.hold()
    await platform.addEndpoint(ownerId, hanging.url, { inFlightMax: 2 })
    const healthy = await platform.addOwner('healthy')
    await platform.addEndpoint(healthy, receiver.url)
    platform.startWorker({ workerConcurrency: 8 })
    await Promise.all(Array.from({ length: 50 }, (_, n) => platform.emit(EVENT_TYPE, { n })))
    await hanging.waitFor(2)
    await Promise.all(
      Array.from({ length: 50 }, (_, n) => platform.emit(EVENT_TYPE, { n }, { owner: 'healthy' })),
    )
    await receiver.waitFor(50)
    expect(hanging.requests).toHaveLength(2)
    // What waited was handed back without using up an attempt.
    await vi.waitFor(async () => {
      const waiting = (await platform.deliveries()).filter((d) => d.ownerId === ownerId)
      expect(waiting.every((d) => d.state === 'pending' && d.attempts === 0)).toBe(true)
    })
    hold.release()
    await hanging.close()
  })

  test('a worker that is told to stop finishes what is in flight', async () => {
    await platform.addEndpoint(ownerId, receiver.url)
    const hold = receiver.hold()
    const worker = platform.startWorker()
    await platform.emit(EVENT_TYPE, {})
    await receiver.waitFor(1)
    const closed = worker.close()
    hold.release()
    await closed
    expect((await platform.deliveries())[0]).toMatchObject({ state: 'delivered', attempts: 1 })
  })

  test('without a job the sweep finds the delivery', async () => {
    await platform.addEndpoint(ownerId, receiver.url)
    await platform.queue.close()
    await platform.emit(EVENT_TYPE, {})
    await platform.store.pool.query(`UPDATE deliveries_pending SET wake_at = now()`)
    platform.startWorker()
    await receiver.waitFor(1)
  })
})

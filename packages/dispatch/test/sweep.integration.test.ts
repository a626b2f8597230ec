import { describeEachBackend, type Receiver, startReceiver } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type DeliveryPath, startDeliveryPath } from './start-delivery-path.ts'

const TYPE = 'pay_info.paid'
const ENDPOINTS = 10
const MESSAGES = 120
/** What one sweep puts into the queue. */
const ENQUEUED = 1_000

describeEachBackend((backend) => {
  let path: DeliveryPath
  let receiver: Receiver

  beforeEach(async () => {
    path = await startDeliveryPath(backend)
    receiver = await startReceiver()
    await path.addEventTypes(TYPE)
    const owner = await path.addOwner('acme')
    for (let at = 0; at < ENDPOINTS; at++) await path.addEndpoint(owner, `${receiver.url}/${at}`, [TYPE])
  })
  afterEach(async () => {
    await receiver.close()
    await path.close()
  })

  /** Accepts a backlog, of which the sweep has to think that its jobs were lost. */
  async function acceptBacklog(): Promise<void> {
    const accepted = Array.from({ length: MESSAGES }, (_, at) =>
      path.accept.accept({ owner: 'acme', type: TYPE, data: Buffer.from(`{"at":${at}}`) }),
    )
    await Promise.all(accepted)
    await path.store.pool.query(`UPDATE deliveries_pending SET wake_at = now() - interval '1 second'`)
  }

  const posts = () => receiver.requests.map(({ path: to, headers }) => `${to} ${headers['webhook-id']}`)

  test('what is beyond one sweep is delivered without jobs', async () => {
    await acceptBacklog()
    path.startDelivering({ takesJobs: false })
    await receiver.waitFor(ENDPOINTS * MESSAGES - ENQUEUED)
    expect(new Set(posts()).size).toBe(posts().length)
  })

  test('a backlog that is in the queue and found by sweeps is delivered once', async () => {
    await acceptBacklog()
    path.startDelivering()
    const countPending = async () =>
      (await path.store.pool.query('SELECT FROM deliveries_pending')).rows.length
    await expect.poll(countPending, { timeout: 30_000 }).toBe(0)
    expect(posts()).toHaveLength(ENDPOINTS * MESSAGES)
    expect(new Set(posts()).size).toBe(ENDPOINTS * MESSAGES)
  })
})

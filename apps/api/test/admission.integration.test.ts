import { createDeliver } from '@posthorn/dispatch'
import { createAddressRule, createPost } from '@posthorn/egress'
import { createLogger, parseSettings } from '@posthorn/runtime'
import { takeDue } from '@posthorn/store'
import { type Receiver, startReceiver } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type Answer, startTestApi, type TestApi } from './start-test-api.ts'

const PATIENCE = { timeout: 20_000, interval: 50 }

let receiver: Receiver
let api: TestApi

beforeEach(async () => {
  receiver = await startReceiver()
})
afterEach(async () => {
  await api.close()
  await receiver.close()
})

async function start(limits: Parameters<typeof startTestApi>[0] & object): Promise<void> {
  api = await startTestApi(limits)
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.paid' } })
  for (const uid of ['flood', 'quiet']) {
    await api.request('POST', '/v1/owners', { body: { uid } })
    await api.request('POST', `/v1/owners/${uid}/endpoints`, {
      body: { url: 'https://example.com', eventTypes: ['pay_info.paid'] },
    })
  }
  // Registered as a public address, since the API refuses others.
  await api.store.pool.query('UPDATE endpoints SET url = $1', [receiver.url])
}

const event = (owner: string) => ({ owner, type: 'pay_info.paid', data: {} })
const emit = (owner: string) => api.request('POST', '/v1/messages', { body: event(owner) })
const emitBatch = (owners: string[]) =>
  api.request('POST', '/v1/messages/batch', { body: { messages: owners.map(event) } })

/** Emits many at once, and then until it is refused. @returns the refusal, and the ids of what was answered 202 */
async function flood(owner: string, atOnce: number): Promise<{ refusal: Answer; accepted: string[] }> {
  const { body } = await emitBatch(Array(atOnce).fill(owner))
  const accepted: string[] = body.data.map(({ message }: { message: { id: string } }) => message.id)
  return await vi.waitFor(async () => {
    const answer = await emit(owner)
    if (answer.status === 202) accepted.push(answer.body.id)
    expect(answer.status).not.toBe(202)
    return { refusal: answer, accepted }
  }, PATIENCE)
}

/** Delivers all that is due, as a worker does. */
async function drain(): Promise<void> {
  const logger = createLogger({ level: 'silent', name: 'test' })
  const settings = parseSettings({})
  const { post, close } = createPost({
    rule: createAddressRule({ allow: ['127.0.0.0/8'] }),
    connectTimeoutMs: settings.connectTimeoutMs,
    attemptTimeoutMs: settings.attemptTimeoutMs,
    userAgent: 'Posthorn/test',
  })
  const deliver = createDeliver({
    pool: api.store.pool,
    vault: api.vault,
    post,
    logger,
    queue: { enqueue: () => Promise.resolve() },
    settings,
  })
  await expect
    .poll(async () => {
      await api.store.pool.query('UPDATE deliveries_pending SET wake_at = now()')
      const due = await takeDue(api.store.pool, 1_000, 5_000)
      await deliver.deliver(due.map(({ id }) => id))
      return (await api.store.pool.query('SELECT FROM deliveries_pending')).rowCount
    }, PATIENCE)
    .toBe(0)
  await deliver.close(1_000)
  await close()
}

const receivedIds = () => receiver.requests.map(({ headers }) => headers['webhook-id'])

it('an owner over its share gets 429 while another is accepted, until the backlog is through; nothing accepted is lost', async () => {
  await start({ limits: { backlogMax: 1_000, ownerShare: 0.5 } })
  const { refusal, accepted } = await flood('flood', 600)
  expect(refusal).toMatchObject({
    status: 429,
    body: { code: 'owner_over_share', status: 429, detail: expect.stringContaining('again in 5 seconds') },
  })
  expect(refusal.headers.get('retry-after')).toBe('5')

  // By its id, the owner is the same one.
  const { body: owner } = await api.request('GET', '/v1/owners/flood')
  expect(await emit(owner.id)).toMatchObject({ status: 429 })
  const quiet = await emit('quiet')
  expect(quiet.status).toBe(202)

  const batch = await emitBatch(['flood', 'quiet', 'nobody', owner.id])
  expect(batch.status).toBe(200)
  expect(batch.headers.get('retry-after')).toBe('5')
  expect(batch.body.data).toMatchObject([
    { status: 429, error: { code: 'owner_over_share' } },
    { status: 202, message: { id: expect.any(String) } },
    { status: 422, error: { code: 'unknown_owner' } },
    { status: 429, error: { code: 'owner_over_share' } },
  ])

  await drain()
  expect(new Set(receivedIds())).toEqual(new Set([...accepted, quiet.body.id, batch.body.data[1].message.id]))
  await expect.poll(async () => (await emit('flood')).status, PATIENCE).toBe(202)
  expect((await emit('quiet')).status).toBe(202)
})

it('past the whole backlog everybody gets 503 with Retry-After, until it is through; nothing accepted is lost', async () => {
  await start({ limits: { backlogMax: 50, ownerShare: 1 } })
  const { refusal, accepted } = await flood('flood', 60)
  expect(refusal).toMatchObject({ status: 503, body: { code: 'overloaded', status: 503 } })
  expect(refusal.headers.get('retry-after')).toBe('5')
  expect(await emit('quiet')).toMatchObject({ status: 503, body: { code: 'overloaded' } })
  const batch = await emitBatch(['quiet'])
  expect(batch).toMatchObject({ status: 503, body: { code: 'overloaded' } })
  expect(batch.headers.get('retry-after')).toBe('5')
  // Looking things up goes on.
  expect((await api.request('GET', '/v1/deliveries')).status).toBe(200)

  await drain()
  expect(new Set(receivedIds())).toEqual(new Set(accepted))
  for (const owner of ['flood', 'quiet']) {
    await expect.poll(async () => (await emit(owner)).status, PATIENCE).toBe(202)
  }
})

it('emits that wait for their commit are bounded: one more is 503, and those before it are accepted', async () => {
  await start({ limits: { waitingEmitsMax: 4 } })
  const blocker = await api.store.pool.connect()
  try {
    await blocker.query('BEGIN; LOCK TABLE messages')
    const batch = emitBatch(Array(6).fill('flood'))
    // Asked beside the blocker: within a transaction the answer would stay the first one.
    await expect
      .poll(async () => {
        const { rows } = await api.store.pool.query(
          `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        )
        return rows.length
      }, PATIENCE)
      .toBeGreaterThan(0)
    expect(await emit('quiet')).toMatchObject({ status: 503, body: { code: 'overloaded' } })
    await blocker.query('COMMIT')
    const { body, headers } = await batch
    expect(body.data.map(({ status }: { status: number }) => status)).toEqual([202, 202, 202, 202, 503, 503])
    expect(body.data[4].error).toMatchObject({
      code: 'overloaded',
      detail: expect.stringContaining('commit'),
    })
    expect(headers.get('retry-after')).toBe('1')
  } finally {
    blocker.release(true)
  }
  expect((await emit('quiet')).status).toBe(202)
  const { body } = await api.request('GET', '/v1/messages')
  expect(body.data).toHaveLength(5)
})

import { encodeId, lowestId, newUuid } from '@posthorn/contracts'
import { createLogger } from '@posthorn/runtime'
import { createStore, findMessage, listDeliveries } from '@posthorn/store'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  type Accept,
  type AcceptedMessage,
  type AcceptResult,
  acceptJob,
  createAccept,
  type EmittedEvent,
  RefusedMessagesError,
} from '../src/index.ts'
import { type DeliveryPath, startDeliveryPath } from './start-delivery-path.ts'

const DAY_MS = 86_400_000
const TYPE = 'pay_info.paid'

const silent = createLogger({ level: 'silent', name: 'test' })
let path: DeliveryPath
/** One owner a test, with two endpoints for TYPE. */
let owner: string
let ownerId: string
let count = 0

beforeAll(async () => {
  path = await startDeliveryPath({ name: 'postgres', queuePrefix: 'unused' })
  await path.addEventTypes(TYPE, 'pay_info.refunded')
})
beforeEach(async () => {
  count += 1
  owner = `owner-${count}`
  ownerId = await path.addOwner(owner)
  await path.addEndpoint(ownerId, 'http://127.0.0.1:1/a', [TYPE])
  await path.addEndpoint(ownerId, 'http://127.0.0.1:1/b', [TYPE])
})
afterAll(() => path.close())

function emit(event: Partial<EmittedEvent> = {}): Promise<AcceptResult> {
  return path.accept.accept({ owner, type: TYPE, data: Buffer.from('{"n":1}'), ...event })
}

/** What there is of this test's owner. */
async function stored() {
  const { rows: messages } = await path.store.pool.query<{ id: string }>(
    'SELECT id FROM messages WHERE owner_id = $1 ORDER BY id',
    [ownerId],
  )
  const { items: deliveries } = await listDeliveries(path.store.pool, { ownerId }, { limit: 1_000 })
  return { messages: messages.map(({ id }) => id), deliveries }
}

function acceptedMessage(result: AcceptResult): AcceptedMessage {
  if (result.kind !== 'accepted') throw new Error(`not accepted: ${result.kind}`)
  return result.message
}

/** With connections and commits of its own, as another process has. */
function startAnotherAccept(): Pick<Accept, 'accept' | 'close'> {
  const store = createStore(path.url)
  const accept = createAccept({ pool: store.pool, queue: path.queue, logger: silent })
  return {
    accept: accept.accept,
    async close() {
      await accept.close()
      await store.close()
    },
  }
}

/** The ways to say that it is the same event. */
const identities: { name: string; identity: () => Partial<EmittedEvent> }[] = [
  { name: 'a message id that the application made', identity: () => ({ id: encodeId('msg', newUuid()) }) },
  { name: 'an id of the application’s own', identity: () => ({ id: `order-${newUuid()}-paid` }) },
  { name: 'an idempotency key', identity: () => ({ idempotencyKey: `key ${newUuid()}` }) },
  {
    name: 'an idempotency key that looks like a message id',
    identity: () => ({ idempotencyKey: encodeId('msg', newUuid()) }),
  },
]

describe.each(identities)('under $name', ({ identity }) => {
  test('the same event twice is one message, with the same answer', async () => {
    const same = identity()
    const first = await emit(same)
    const second = await emit(same)
    expect(first).toMatchObject({ kind: 'accepted', again: false, message: { deliveries: 2, ownerId } })
    expect(second).toEqual({ ...first, again: true })
    const { messages, deliveries } = await stored()
    expect(messages).toEqual([acceptedMessage(first).id])
    expect(deliveries).toHaveLength(2)
  })

  test('the same event fifty times at once is one message', async () => {
    const same = identity()
    const results = await Promise.all(Array.from({ length: 50 }, () => emit(same)))
    const messages = results.map(acceptedMessage)
    expect(new Set(messages.map(({ id }) => id)).size).toBe(1)
    expect(results.filter((result) => result.kind === 'accepted' && !result.again)).toHaveLength(1)
    const found = await stored()
    expect(found.messages).toHaveLength(1)
    expect(found.deliveries).toHaveLength(2)
  })

  test('another process may emit it at the same time', async () => {
    const other = startAnotherAccept()
    const same = identity()
    const event = { owner, type: TYPE, data: Buffer.from('{"n":1}'), ...same }
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? emit(same) : other.accept(event))),
    )
    await other.close()
    expect(new Set(results.map((result) => acceptedMessage(result).id)).size).toBe(1)
    expect((await stored()).deliveries).toHaveLength(2)
  })

  test.each<[string, Partial<EmittedEvent>]>([
    ['other data', { data: Buffer.from('{"n":2}') }],
    ['the same data in other words', { data: Buffer.from('{"n": 1}') }],
    ['another event type', { type: 'pay_info.refunded' }],
    ['another timestamp', { timestamp: new Date('2020-01-01T00:00:00Z') }],
  ])('%s is a conflict, and changes nothing', async (_, change) => {
    const same = identity()
    const first = acceptedMessage(await emit(same))
    const before = await findMessage(path.store.pool, first.id)
    expect(await emit({ ...same, ...change })).toEqual({ kind: 'conflict', messageId: first.id })
    expect(await findMessage(path.store.pool, first.id)).toEqual(before)
    expect((await stored()).deliveries).toHaveLength(2)
  })

  test('another owner’s event is a conflict', async () => {
    const same = identity()
    const first = acceptedMessage(await emit(same))
    await path.addOwner(`other-${count}-${same.id ?? same.idempotencyKey}`)
    expect(await emit({ ...same, owner: `other-${count}-${same.id ?? same.idempotencyKey}` })).toEqual({
      kind: 'conflict',
      messageId: first.id,
    })
  })

  test('two events at once under it: one is taken, the other is a conflict', async () => {
    const same = identity()
    const results = await Promise.all([emit(same), emit({ ...same, data: Buffer.from('{"n":2}') })])
    expect(results.map(({ kind }) => kind).sort()).toEqual(['accepted', 'conflict'])
    expect((await stored()).messages).toHaveLength(1)
  })

  test('what was refused may be emitted again', async () => {
    const same = identity()
    expect(await emit({ ...same, owner: 'nobody' })).toEqual({ kind: 'unknown-owner' })
    expect(await emit({ ...same, type: 'no.such' })).toEqual({ kind: 'unknown-event-type' })
    expect(await emit(same)).toMatchObject({ kind: 'accepted', again: false })
  })

  test('the owner may be named by its uid or its id', async () => {
    const same = identity()
    const first = await emit(same)
    expect(await emit({ ...same, owner: encodeId('own', ownerId) })).toEqual({ ...first, again: true })
  })
})

test('a message id that the application made becomes the message’s id', async () => {
  const uuid = newUuid()
  expect(acceptedMessage(await emit({ id: encodeId('msg', uuid) })).id).toBe(uuid)
})

test('without an id every emit is a message of its own', async () => {
  await Promise.all([emit(), emit(), emit()])
  const { messages, deliveries } = await stored()
  expect(messages).toHaveLength(3)
  expect(deliveries).toHaveLength(6)
})

test('an unknown, a deleted and a malformed owner are refused alike', async () => {
  await path.store.prisma.owner.update({ where: { id: ownerId }, data: { deletedAt: new Date() } })
  for (const unknown of [
    'nobody',
    owner,
    encodeId('own', ownerId),
    encodeId('own', newUuid()),
    '',
    'own_!',
  ]) {
    expect(await emit({ owner: unknown })).toEqual({ kind: 'unknown-owner' })
  }
  expect((await stored()).messages).toEqual([])
})

test('an event type that is not in the catalogue is refused', async () => {
  expect(await emit({ type: 'pay_info.lost' })).toEqual({ kind: 'unknown-event-type' })
  expect((await stored()).messages).toEqual([])
})

test('an event type that only Posthorn itself emits is refused, unless it is its own', async () => {
  expect(await emit({ type: 'endpoint.disabled' })).toEqual({ kind: 'reserved-event-type' })
  expect((await stored()).messages).toEqual([])
  expect(await emit({ type: 'endpoint.disabled', operational: true })).toMatchObject({ kind: 'accepted' })
})

test.each([
  ['two days old', () => idAt(Date.now() - 2 * DAY_MS)],
  ['two days ahead', () => idAt(Date.now() + 2 * DAY_MS)],
  ['of 1970', () => idAt(0)],
  ['not a UUIDv7', () => '0a1b2c3d-0000-4000-8000-000000000000'],
])('a message id that is %s is out of range', async (_, makeId) => {
  expect(await emit({ id: encodeId('msg', makeId()) })).toEqual({ kind: 'id-out-of-range' })
})

test.each([-0.9, 0.9])('a clock that is %d days off still makes ids that are taken', async (days) => {
  const id = idAt(Date.now() + days * DAY_MS)
  expect(acceptedMessage(await emit({ id: encodeId('msg', id) })).id).toBe(id)
})

test('a message for no endpoint is stored, with no delivery', async () => {
  expect(await emit({ type: 'pay_info.refunded' })).toMatchObject({
    kind: 'accepted',
    message: { deliveries: 0 },
  })
  const { messages, deliveries } = await stored()
  expect(messages).toHaveLength(1)
  expect(deliveries).toEqual([])
})

test('a disabled endpoint is still delivered to by name: its delivery ends visibly', async () => {
  await path.store.prisma.endpoint.updateMany({ where: { ownerId }, data: { disabledAt: new Date() } })
  expect(await emit()).toMatchObject({ kind: 'accepted', message: { deliveries: 2 } })
})

test('a deleted endpoint gets no delivery', async () => {
  await path.store.prisma.endpoint.updateMany({ where: { ownerId }, data: { deletedAt: new Date() } })
  expect(await emit()).toMatchObject({ kind: 'accepted', message: { deliveries: 0 } })
})

test('refused messages do not spoil those that share their commit', async () => {
  const events = Array.from({ length: 60 }, (_, n): Partial<EmittedEvent> => {
    if (n % 3 === 1) return { owner: 'nobody' }
    if (n % 3 === 2) return { type: 'no.such' }
    return { id: `shared-${owner}-${n}`, data: Buffer.from(JSON.stringify({ n })) }
  })
  const results = await Promise.all(events.map(emit))
  expect(results.map(({ kind }) => kind)).toEqual(
    events.map((_, n) => ['accepted', 'unknown-owner', 'unknown-event-type'][n % 3]),
  )
  const { messages, deliveries } = await stored()
  expect(messages).toHaveLength(20)
  expect(deliveries).toHaveLength(40)
  // Each answer belongs to its own event, and each payload to its own message.
  for (const [n, result] of results.entries()) {
    if (result.kind !== 'accepted') continue
    const message = (await findMessage(path.store.pool, result.message.id))!
    expect(JSON.parse(message.payload.toString())).toMatchObject({ data: { n } })
  }
})

test('a day whose partitions nobody made gets them at its first message', async () => {
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '')
  for (const table of ['messages', 'deliveries_ended', 'attempts']) {
    await path.store.pool.query(`ALTER TABLE "${table}" DETACH PARTITION "${table}_${day}"`)
    await path.store.pool.query(`ALTER TABLE "${table}_${day}" RENAME TO "${table}_${day}_put_by"`)
  }
  const results = await Promise.all(Array.from({ length: 20 }, () => emit()))
  expect(results.every(({ kind }) => kind === 'accepted')).toBe(true)
  expect((await stored()).messages).toHaveLength(20)
})

describe('a job that an application put into the queue', () => {
  const context = () => ({ accept: path.accept, payloadBytesMax: 1_000, logger: silent })
  const message = (change: object = {}) => ({
    ...{ id: encodeId('msg', newUuid()), owner, type: TYPE, data: '{"n":1}' },
    ...change,
  })

  test('may run twice: its messages are there once', async () => {
    const job = { messages: [message({ timestamp: '2026-11-21T12:00:00.000Z' }), message({ id: 'mine' })] }
    await acceptJob(context(), job)
    await acceptJob(context(), job)
    expect((await stored()).messages).toHaveLength(2)
  })

  test('fails with the name and the reason of each refused message, after the others were accepted', async () => {
    const bad = [
      message({ owner: 'nobody' }),
      message({ type: 'no.such' }),
      message({ type: 'not a type' }),
      message({ data: '{"n":' }),
      message({ data: JSON.stringify('x'.repeat(1_000)) }),
      message({ timestamp: 'yesterday' }),
      message({ id: encodeId('msg', idAt(0)) }),
      message({ type: 'message.exhausted' }),
    ]
    const error = await acceptJob(context(), { messages: [message(), ...bad, message()] }).catch(
      (reason: RefusedMessagesError) => reason,
    )
    if (!(error instanceof RefusedMessagesError)) throw new Error('It was not refused.')
    expect(error.code).toBe('messages_refused')
    expect(error.message.split('; ').sort()).toEqual(
      [
        `${bad[0]!.id}: unknown_owner`,
        `${bad[1]!.id}: unknown_event_type`,
        `${bad[2]!.id}: invalid_event_type`,
        `${bad[3]!.id}: invalid_json`,
        `${bad[4]!.id}: payload_too_large`,
        `${bad[5]!.id}: invalid_timestamp`,
        `${bad[6]!.id}: id_out_of_range`,
        `${bad[7]!.id}: reserved_event_type`,
      ].sort(),
    )
    expect((await stored()).messages).toHaveLength(2)
  })
})

/** A UUIDv7 of this time. */
function idAt(timeMs: number): string {
  return lowestId(timeMs).slice(0, 13) + newUuid().slice(13)
}

import { decodeId, isOperationalEventType, newUuid, uuidTimeMs } from '@posthorn/contracts'
import type { DeliveryQueue } from '@posthorn/queue'
import { coalesce, type Logger } from '@posthorn/runtime'
import {
  acceptMessages,
  ensurePartitions,
  findMessage,
  findMessageByKey,
  isTransient,
  type MessageRecord,
  type NewMessage,
  type NewMessageResult,
  type Pool,
  sqlState,
} from '@posthorn/store'
import { createFairShare, type FairShare } from './fair-share.ts'
import { messagePayload, payloadData } from './payload.ts'
import { UNCLAIMED_GRACE_MS } from './sweep.ts'

/** An event as the application emitted it, parsed and valid in itself. */
export interface EmittedEvent {
  /**
   * The application's id for the message: a `msg_` id that it made, which becomes the message's id,
   * or any text of its own. Emitting again under the same id finds the first message.
   */
  id?: string
  /** As `id`, given beside the body. */
  idempotencyKey?: string
  /** `own_…`, or the application's own uid for the owner. */
  owner: string
  type: string
  /** When it happened; the time of acceptance where it is not given. */
  timestamp?: Date
  /** JSON text of the data, without insignificant white space. */
  data: Buffer
  /** It is Posthorn's own, and may be of a type that is reserved for these. */
  operational?: true
}

export interface AcceptedMessage {
  /** UUID. */
  id: string
  ownerId: string
  eventType: string
  timestamp: Date
  /** How many endpoints matched. */
  deliveries: number
}

export type AcceptResult =
  /** It is committed. `again`: it was already, by an earlier emit of the same event under the same id. */
  | { kind: 'accepted'; again: boolean; message: AcceptedMessage }
  /** Another event was emitted under this id before. */
  | { kind: 'conflict'; messageId: string }
  | { kind: 'id-out-of-range' }
  | { kind: 'unknown-owner' }
  | { kind: 'unknown-event-type' }
  /** Only Posthorn itself emits it. */
  | { kind: 'reserved-event-type' }

export interface AcceptContext {
  pool: Pool
  queue: DeliveryQueue
  logger: Logger
}

type Context = AcceptContext & { fairShare: FairShare }

export interface Accept {
  /**
   * Makes an event durable with its deliveries; resolves after the commit, never before.
   *
   * Rejects when the database cannot be asked: then it is unknown whether the event was committed,
   * and emitting it again under the same id is safe.
   */
  accept(event: EmittedEvent): Promise<AcceptResult>
  /** Emits that wait for their commit or are in it, and the bytes of their payloads. */
  readonly waitingEmits: number
  readonly waitingBytes: number
  /** Waits for what is under way. */
  close(): Promise<void>
}

/** Partitions reach two days back and seven ahead, so that an id of a skewed clock still has its place. */
const ID_SKEW_MAX_MS = 86_400_000
const RETRIES_MAX = 3
/** Most of what a commit costs is its own: a few large ones carry more than many small ones. */
const BESIDE_MIN = 128
/** At 500 a second each message had a commit of its own otherwise, which takes four times as long as the message. */
const EVERY_MS = 2

/**
 * Emits that arrive while a commit is in flight share the next one: nothing waits when idle, and under
 * load one commit carries hundreds of messages.
 */
export function createAccept(parts: AcceptContext): Accept {
  const context = { ...parts, fairShare: createFairShare() }
  const commits = coalesce<NewMessage, NewMessageResult>({
    run: (messages) => commit(context, messages),
    itemsMax: 500,
    bytesMax: 4 * 1024 * 1024,
    bytesOf: (message) => message.payload.length,
    concurrency: 2,
    besideMin: BESIDE_MIN,
    everyMs: EVERY_MS,
  })
  return {
    accept: (event) => accept(context, commits.add, event),
    close: () => commits.close(),
    get waitingEmits() {
      return commits.pending
    },
    get waitingBytes() {
      return commits.pendingBytes
    },
  }
}

async function accept(
  context: AcceptContext,
  add: (message: NewMessage) => Promise<NewMessageResult>,
  event: EmittedEvent,
): Promise<AcceptResult> {
  if (!event.operational && isOperationalEventType(event.type)) return { kind: 'reserved-event-type' }
  const timestamp = event.timestamp ?? new Date()
  const key = event.idempotencyKey ?? event.id
  const ownId =
    event.idempotencyKey === undefined && event.id !== undefined ? decodeId('msg', event.id) : undefined
  if (ownId !== undefined) {
    const timeMs = uuidTimeMs(ownId)
    if (timeMs === undefined || Math.abs(timeMs - Date.now()) > ID_SKEW_MAX_MS)
      return { kind: 'id-out-of-range' }
  }
  const ownerId = decodeId('own', event.owner)
  const message: NewMessage = {
    id: ownId ?? newUuid(),
    eventType: event.type,
    timestamp,
    payload: messagePayload(event.type, timestamp, event.data),
    ...(ownerId === undefined ? { ownerUid: event.owner } : { ownerId }),
    ...(ownId === undefined && key !== undefined && { idempotencyKey: key }),
  }
  const result = await add(message)
  switch (result.kind) {
    case 'accepted':
      return {
        kind: 'accepted',
        again: false,
        message: {
          id: message.id,
          ownerId: result.ownerId,
          eventType: event.type,
          timestamp,
          deliveries: result.deliveryIds.length,
        },
      }
    case 'exists':
      return await compareWithFirst(context.pool, message, event)
    default:
      return { kind: result.kind }
  }
}

/** The same event under the same id is the same message; another event is a conflict. */
async function compareWithFirst(pool: Pool, message: NewMessage, event: EmittedEvent): Promise<AcceptResult> {
  const first =
    message.idempotencyKey === undefined
      ? await findMessage(pool, message.id)
      : await findMessageByKey(pool, message.idempotencyKey)
  if (first === undefined) throw new Error('A message that exists was not found: its partition was dropped.')
  if (!isSameEvent(first, message, event)) return { kind: 'conflict', messageId: first.id }
  return {
    kind: 'accepted',
    again: true,
    message: {
      id: first.id,
      ownerId: first.ownerId,
      eventType: first.eventType,
      timestamp: first.timestamp,
      deliveries: first.deliveries,
    },
  }
}

function isSameEvent(first: MessageRecord, message: NewMessage, event: EmittedEvent): boolean {
  return (
    first.eventType === event.type &&
    (message.ownerId === undefined
      ? first.ownerUid === message.ownerUid
      : first.ownerId === message.ownerId) &&
    // Without a timestamp of the application's, each emit has the time of its own acceptance.
    (event.timestamp === undefined || first.timestamp.getTime() === event.timestamp.getTime()) &&
    // Of one that was expunged there is nothing left to compare: under its key it is the same.
    (first.expungedAt !== null || payloadData(first.payload, first.eventType).equals(event.data))
  )
}

async function commit(context: Context, messages: NewMessage[]): Promise<NewMessageResult[]> {
  const first = new Map<string, NewMessage>()
  const repeated: NewMessage[] = []
  for (const message of messages) {
    const key = identityOf(message)
    if (first.has(key)) repeated.push(message)
    else first.set(key, message)
  }
  // One order for all processes: no two commits wait for each other's keys.
  const ordered = [...first].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, message]) => message)
  const results = await acceptInPartitions(context, ordered)
  enqueueInBackground(context, results)
  const resultOf = new Map(ordered.map((message, at) => [message, results[at]!]))
  // The same id twice in one commit: the second finds the first, or has a try of its own if that was refused.
  const again: NewMessage[] = []
  for (const message of repeated) {
    const { kind } = resultOf.get(first.get(identityOf(message))!)!
    if (kind === 'accepted' || kind === 'exists') resultOf.set(message, { kind: 'exists' })
    else again.push(message)
  }
  if (again.length > 0) {
    const later = await commit(context, again)
    for (const [at, message] of again.entries()) resultOf.set(message, later[at]!)
  }
  return messages.map((message) => resultOf.get(message)!)
}

function identityOf({ id, idempotencyKey }: NewMessage): string {
  return idempotencyKey === undefined ? id : `key ${idempotencyKey}`
}

/** Repeats what failed for a reason that passes; nothing of a failed statement was kept. */
async function acceptInPartitions(
  context: AcceptContext,
  messages: NewMessage[],
): Promise<NewMessageResult[]> {
  for (let failures = 0; ; failures++) {
    try {
      return await acceptMessages(context.pool, messages, UNCLAIMED_GRACE_MS)
    } catch (error) {
      if (failures >= RETRIES_MAX) throw error
      if (isNoPartition(error)) await makePartitions(context.pool)
      else if (!isTransient(error)) throw error
    }
  }
}

/** 23514, "no partition of relation found for row": nobody made today's. */
function isNoPartition(error: unknown): boolean {
  return sqlState(error) === '23514'
}

async function makePartitions(pool: Pool): Promise<void> {
  const client = await pool.connect()
  try {
    await ensurePartitions(client)
  } finally {
    client.release()
  }
}

/** A job is a hint. Where it cannot be added, the sweep finds the deliveries in the database. */
function enqueueInBackground({ queue, logger, fairShare }: Context, results: NewMessageResult[]): void {
  const accepted = results.filter((result) => result.kind === 'accepted')
  const { within, surplus } = fairShare.divide(accepted)
  const noteFailed = (error: unknown) => {
    logger.warn({ err: error, deliveries: within.length + surplus.length }, 'delivery.enqueue_failed')
  }
  if (within.length > 0) queue.enqueue(within).catch(noteFailed)
  if (surplus.length > 0) queue.enqueueSurplus(surplus).catch(noteFailed)
}

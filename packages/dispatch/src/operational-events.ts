import { encodeId, type OperationalEventData, type OperationalEventType } from '@posthorn/contracts'
import type { Logger } from '@posthorn/runtime'
import {
  type AboutEndpoint,
  deleteOperationalEvents,
  type OperationalEventRecord,
  type Pool,
  takeOperationalEvents,
} from '@posthorn/store'
import type { Accept } from './accept.ts'
import { repeat } from './repeat.ts'

const PAUSE_MS = 1_000
const BATCH = 200

export interface OperationalEventsContext {
  pool: Pool
  accept: Pick<Accept, 'accept'>
  logger: Logger
}

/** Accepts what Posthorn has to say of itself as messages, for whoever subscribes to it. */
export interface OperationalEvents {
  /** @returns how many of the events that waited were accepted, and whether more may be left */
  once(): Promise<{ accepted: number; more: boolean }>
  stop(): Promise<void>
}

/** Looks every second until stopped. Any number of processes may: an event is taken by one of them. */
export function startOperationalEvents(context: OperationalEventsContext): OperationalEvents {
  const once = () => runOnce(context)
  const stop = repeat({
    name: 'operational_events',
    logger: context.logger,
    once: async () => ((await once()).more ? 0 : PAUSE_MS),
    failedPauseMs: PAUSE_MS,
  })
  return { once, stop }
}

async function runOnce(context: OperationalEventsContext): Promise<{ accepted: number; more: boolean }> {
  const { error, ...batch } = await acceptBatch(context)
  if (error !== undefined) throw error
  return batch
}

/**
 * Takes events, has them accepted, and deletes them. Whoever dies before the last step leaves them to be
 * accepted again, under the same key: that finds the messages that were made, and makes no others.
 */
async function acceptBatch({
  pool,
  accept,
  logger,
}: OperationalEventsContext): Promise<{ accepted: number; more: boolean; error: unknown }> {
  const client = await pool.connect()
  let broken = false
  try {
    await client.query('BEGIN')
    const events = await takeOperationalEvents(client, BATCH)
    // All at once: they share a commit.
    const results = await Promise.allSettled(events.map((event) => acceptEvent({ accept, logger }, event)))
    const accepted = events.filter((_, at) => results[at]!.status === 'fulfilled').map(({ id }) => id)
    if (accepted.length > 0) await deleteOperationalEvents(client, accepted)
    await client.query('COMMIT')
    return {
      accepted: accepted.length,
      more: events.length === BATCH,
      // It stays, and does not keep the others.
      error: results.find((result) => result.status === 'rejected')?.reason,
    }
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {
      broken = true
    })
    throw error
  } finally {
    client.release(broken)
  }
}

async function acceptEvent(
  { accept, logger }: Pick<OperationalEventsContext, 'accept' | 'logger'>,
  event: OperationalEventRecord,
): Promise<void> {
  const { about } = event.data
  if (about === null) return
  const data = Buffer.from(JSON.stringify({ ...aboutData(about), ...factsOf(event) }))
  for (const ownerId of event.recipientIds) {
    const owner = encodeId('own', ownerId)
    const { kind } = await accept.accept({
      idempotencyKey: `posthorn:${event.id}:${owner}`,
      owner,
      type: event.type,
      timestamp: event.createdAt,
      data,
      operational: true,
    })
    // Its owner was deleted meanwhile; or another version of this program accepted it, in its own words.
    if (kind === 'accepted' || kind === 'unknown-owner' || kind === 'conflict') continue
    logger.error({ event: event.id, type: event.type, owner, reason: kind }, 'operational_event.refused')
  }
}

type Facts<T extends OperationalEventType> = Omit<OperationalEventData<T>, 'owner' | 'endpoint'>

function factsOf(
  event: OperationalEventRecord,
): Facts<'endpoint.disabled' | 'endpoint.failing' | 'endpoint.recovered'> | Facts<'message.exhausted'> {
  if (event.type !== 'message.exhausted') {
    return { reason: event.data.reason, since: time(event.data.since) }
  }
  const { messageId, eventType, deliveryId, attempts, startedAt, outcome, status } = event.data
  return {
    message: encodeId('msg', messageId),
    eventType,
    delivery: encodeId('dlv', deliveryId),
    attempts,
    lastAttempt: { startedAt: time(startedAt), outcome, status },
  }
}

function aboutData({ ownerId, ownerUid, endpointId, endpointUid, url }: AboutEndpoint) {
  return {
    owner: { id: encodeId('own', ownerId), uid: ownerUid },
    endpoint: { id: encodeId('ep', endpointId), uid: endpointUid, url },
  }
}

function time(text: string): string {
  return new Date(text).toISOString()
}

import { createHash } from 'node:crypto'
import { newUuid } from '@posthorn/contracts'
import {
  countReplayable,
  findEndpointState,
  findReplay,
  findSameReplay,
  insertReplay,
  type Pool,
  type ReplayRecord,
  type ReplayRequest,
} from '@posthorn/store'

/** Below what one worker does, so that a replay asked for without a cap leaves room for what is new. */
export const REPLAY_PER_SECOND_DEFAULT = 100

export interface AskedReplay extends ReplayRequest {
  /** Deliveries that become due in one second, at most. */
  perSecond: number
  /** The application's own key: asking again under it finds the first replay. */
  idempotencyKey?: string
}

export type AskReplayResult =
  /** It runs from now on, in the workers. `again`: it was asked for under the same key before. */
  | { kind: 'asked'; again: boolean; replay: ReplayRecord }
  /** Another replay was asked for under this key before. */
  | { kind: 'conflict'; replayId: string }
  /** One that covers the same still runs. */
  | { kind: 'under-way'; replayId: string }
  | { kind: 'endpoint-deleted' }
  | { kind: 'endpoint-disabled' }

const TRIES_MAX = 5

/**
 * Asks for past messages to be sent to an endpoint again. Workers do it (`startReplays`).
 *
 * Asking again under the same key finds the first replay, also when it has ended. Without it, asking for
 * what a replay that runs covers is refused: nothing is sent twice because it was asked for twice.
 */
export async function askReplay({ pool }: { pool: Pool }, asked: AskedReplay): Promise<AskReplayResult> {
  const { idempotencyKey = null } = asked
  const eventTypes = [...new Set(asked.eventTypes)].sort()
  const digest = digestOf({ ...asked, eventTypes })
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const same = await findSameReplay(pool, { endpointId: asked.endpointId, idempotencyKey, digest })
    if (same !== undefined) {
      if (idempotencyKey === null || same.idempotencyKey !== idempotencyKey) {
        return { kind: 'under-way', replayId: same.id }
      }
      return digestOf(same) === digest
        ? { kind: 'asked', again: true, replay: same }
        : { kind: 'conflict', replayId: same.id }
    }
    const target = await findEndpointState(pool, asked.endpointId)
    if (target === undefined || target.deleted) return { kind: 'endpoint-deleted' }
    if (target.disabled) return { kind: 'endpoint-disabled' }
    const id = newUuid()
    const total = await countReplayable(pool, asked)
    const inserted = await insertReplay(pool, { ...asked, id, eventTypes, idempotencyKey, digest, total })
    const replay = inserted ? await findReplay(pool, id) : undefined
    if (replay !== undefined) return { kind: 'asked', again: false, replay }
    // Somebody else asked for the same at the same moment: find theirs.
  }
  throw new Error('The same replay ended again and again while it was being asked for.')
}

/** What is covered, whatever the pace: two that cover the same would send it twice. */
function digestOf({ endpointId, after, before, selection, eventTypes }: ReplayRequest): string {
  const covered = [endpointId, after.toISOString(), before?.toISOString() ?? null, selection, eventTypes]
  return createHash('sha256').update(JSON.stringify(covered)).digest('hex')
}

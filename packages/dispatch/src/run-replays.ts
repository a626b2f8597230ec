import { encodeId } from '@posthorn/contracts'
import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import {
  advanceReplay,
  cancelReplaysOfDeleted,
  isUnavailable,
  nextReplayInMs,
  type Pool,
  type ReleasedBatch,
  recordReplayError,
  releaseReplayed,
  sqlState,
  type TakenReplay,
  takeReplay,
} from '@posthorn/store'
import { repeat } from './repeat.ts'
import { replayPace } from './replay-pace.ts'
import { UNCLAIMED_GRACE_MS, WAITING_JOBS_MAX } from './sweep.ts'

/** How soon a replay that was asked for begins. */
const PAUSE_MAX_MS = 1_000
/** Other replays are served between two batches of one. */
const PAUSE_MIN_MS = 10
const FAILED_PAUSE_MS = 5_000

export interface ReplaysContext {
  pool: Pool
  queue: Pick<DeliveryQueue, 'enqueue' | 'waiting'>
  logger: Logger
}

/** Carries out the replays that were asked for. */
export interface Replays {
  /** Releases one batch of each replay whose next one is due; held back while the queue is full. */
  once(): Promise<{ released: number; heldBack: boolean }>
  stop(): Promise<void>
}

/** Runs replays until stopped. Any number of processes may: a batch is released by one of them. */
export function startReplays(context: ReplaysContext): Replays {
  const stop = repeat({
    name: 'replay',
    logger: context.logger,
    async once(signal) {
      const { heldBack } = await runOnce(context, signal)
      const nextInMs = heldBack ? undefined : await nextReplayInMs(context.pool)
      return Math.min(Math.max(nextInMs ?? PAUSE_MAX_MS, PAUSE_MIN_MS), PAUSE_MAX_MS)
    },
    failedPauseMs: PAUSE_MAX_MS,
  })
  return { once: () => runOnce(context), stop }
}

async function runOnce(
  context: ReplaysContext,
  signal?: AbortSignal,
): Promise<{ released: number; heldBack: boolean }> {
  const { pool, queue, logger } = context
  await cancelReplaysOfDeleted(pool)
  const served: string[] = []
  let released = 0
  while (signal?.aborted !== true) {
    // As the sweep: what is released waits in the database, not in the queue ahead of what is new.
    if ((await queue.waiting()) > WAITING_JOBS_MAX) return { released, heldBack: true }
    const batch = await releaseBatch(context, served)
    if (batch === undefined) break
    served.push(batch.replayId)
    released += batch.deliveryIds.length
    if (batch.deliveryIds.length === 0) continue
    // A job is a hint. Where it cannot be added, the sweep finds the deliveries in the database.
    await queue.enqueue(batch.deliveryIds).catch((error: unknown) => {
      logger.warn({ err: error, deliveries: batch.deliveryIds.length }, 'delivery.enqueue_failed')
    })
  }
  return { released, heldBack: false }
}

/**
 * One transaction: take a replay, release its next deliveries, note how far it came. Whoever dies in
 * between has released nothing, and the replay goes on from where the last commit left it.
 *
 * @param served replays to pass over
 */
async function releaseBatch(
  { pool, logger }: ReplaysContext,
  served: readonly string[],
): Promise<{ replayId: string; deliveryIds: string[] } | undefined> {
  const client = await pool.connect()
  let replay: TakenReplay | undefined
  let broken = false
  try {
    await client.query('BEGIN')
    replay = await takeReplay(client, served)
    if (replay === undefined) {
      await client.query('ROLLBACK')
      return undefined
    }
    const pace = replayPace(replay.perSecond)
    const batch = await releaseReplayed(client, replay, pace.batch, UNCLAIMED_GRACE_MS)
    await advanceReplay(client, replay.id, batch, pace.pauseMs(batch.deliveryIds.length))
    await client.query('COMMIT')
    logBatch(logger, replay, batch)
    return { replayId: replay.id, deliveryIds: batch.deliveryIds }
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {
      broken = true
    })
    // 57014, a statement that took too long, is the replay's own fault and not the database's absence.
    const isAway = broken || (isUnavailable(error) && sqlState(error) !== '57014')
    if (replay === undefined || isAway) throw error
    // One that cannot go on does not keep the others from it.
    logger.error({ err: error, replay: encodeId('rpl', replay.id) }, 'replay.batch_failed')
    await recordReplayError(pool, replay.id, errorText(error), FAILED_PAUSE_MS)
    return { replayId: replay.id, deliveryIds: [] }
  } finally {
    client.release(broken)
  }
}

/** What the database says may show more than its reader should see: the log has it. */
function errorText(error: unknown): string {
  const state = sqlState(error)
  return `A batch could not be released${state === undefined ? '' : ` (SQLSTATE ${state})`}; the log of the worker says why.`
}

function logBatch(logger: Logger, replay: TakenReplay, { deliveryIds, exhausted }: ReleasedBatch): void {
  const line = {
    replay: encodeId('rpl', replay.id),
    endpoint: encodeId('ep', replay.endpointId),
    deliveries: deliveryIds.length,
  }
  if (exhausted) logger.info(line, 'replay.done')
  else logger.debug(line, 'replay.released')
}

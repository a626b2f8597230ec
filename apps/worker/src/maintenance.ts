import { setTimeout as delay } from 'node:timers/promises'
import { lowestId } from '@posthorn/contracts'
import { expungePayloads } from '@posthorn/dispatch'
import type { Logger } from '@posthorn/runtime'
import { ensurePartitions, FIRST_POSITION, type Pool, removeExpiredSecrets } from '@posthorn/store'

/** Partitions reach a week ahead: a try an hour leaves room for a hundred failures. */
const INTERVAL_MS = 3_600_000
/** An application may make a message's id a day early: behind this, nothing new appears. */
const ID_SKEW_MS = 25 * 3_600_000

/** What has to be done from time to time, by any worker. */
export function startMaintenance({
  pool,
  logger,
  payloadRetentionMs,
}: {
  pool: Pool
  logger: Logger
  /** Null: payloads are kept. */
  payloadRetentionMs: number | null
}): {
  stop(): Promise<void>
} {
  const stopping = new AbortController()
  const tasks = {
    partitions: () => makePartitions(pool, logger),
    expired_secrets: () => removeSecrets(pool, logger),
    ...(payloadRetentionMs !== null && {
      old_payloads: createExpungeOld({ pool, logger, payloadRetentionMs, signal: stopping.signal }),
    }),
  }
  const running = (async () => {
    while (!stopping.signal.aborted) {
      // One that fails does not keep the others from it.
      for (const [name, task] of Object.entries(tasks)) {
        await task().catch((error: unknown) => logger.error({ err: error }, `${name}.failed`))
      }
      await delay(INTERVAL_MS, undefined, { signal: stopping.signal }).catch(() => {})
    }
  })()
  return {
    async stop() {
      stopping.abort()
      await running
    },
  }
}

async function makePartitions(pool: Pool, logger: Logger): Promise<void> {
  const client = await pool.connect()
  try {
    const made = await ensurePartitions(client)
    if (made.length > 0) logger.info({ partitions: made }, 'partitions.made')
  } finally {
    client.release()
  }
}

async function removeSecrets(pool: Pool, logger: Logger): Promise<void> {
  const removed = await removeExpiredSecrets(pool)
  if (removed > 0) logger.info({ secrets: removed }, 'expired_secrets.removed')
}

/** Goes on from where it came the last time: what is older has no payloads any more. */
function createExpungeOld(context: {
  pool: Pool
  logger: Logger
  payloadRetentionMs: number
  signal: AbortSignal
}): () => Promise<void> {
  const { pool, logger, payloadRetentionMs, signal } = context
  let position = FIRST_POSITION
  return async () => {
    const before = new Date(Date.now() - payloadRetentionMs)
    const scope = { before }
    const {
      messages,
      cancelled,
      position: left,
    } = await expungePayloads({ pool }, scope, {
      position,
      goOn: () => !signal.aborted,
    })
    position = left ?? lowestId(Math.min(before.getTime(), Date.now() - ID_SKEW_MS))
    if (messages > 0) logger.info({ messages, cancelled }, 'old_payloads.expunged')
  }
}

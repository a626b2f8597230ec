import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '@posthorn/runtime'
import { ensurePartitions, type Pool, removeExpiredSecrets } from '@posthorn/store'

/** Partitions reach a week ahead: a try an hour leaves room for a hundred failures. */
const INTERVAL_MS = 3_600_000

/** What has to be done from time to time, by any worker. */
export function startMaintenance({ pool, logger }: { pool: Pool; logger: Logger }): {
  stop(): Promise<void>
} {
  const stopping = new AbortController()
  const tasks = {
    partitions: () => makePartitions(pool, logger),
    expired_secrets: () => removeSecrets(pool, logger),
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

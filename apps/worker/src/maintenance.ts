import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '@posthorn/runtime'
import { ensurePartitions, type Pool } from '@posthorn/store'

/** Partitions reach a week ahead: a try an hour leaves room for a hundred failures. */
const INTERVAL_MS = 3_600_000

/** What has to be done from time to time, by any worker. */
export function startMaintenance({ pool, logger }: { pool: Pool; logger: Logger }): {
  stop(): Promise<void>
} {
  const stopping = new AbortController()
  const running = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await makePartitions(pool, logger)
      } catch (error) {
        logger.error({ err: error }, 'partitions.failed')
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

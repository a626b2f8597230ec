import { join } from 'node:path'
import { startEmbeddedPostgres } from '@posthorn/embedded'
import { createQueueBackend, type QueueBackend } from '@posthorn/queue'
import type { Logger, Settings, Shutdown } from '@posthorn/runtime'
import { createStore, migrate, type Store, waitForDatabase } from '@posthorn/store'
import { embeddedMaxConnections, POOL_MAX } from './connections.ts'

export interface Stores {
  /** With its password: not for logs. */
  databaseUrl: string
  store: Store
  backend: QueueBackend
}

const DATABASE_WAIT_MS = 60_000

/**
 * Opens the database and the queue that the settings name, or starts the embedded server.
 * What it opens is closed by `shutdown`.
 *
 * @param say one line for the user about what is taking time
 */
export async function openStores(
  context: { settings: Settings; logger: Logger; shutdown: Shutdown; say(line: string): void },
  options: { applicationName: string; poolMax?: number },
): Promise<Stores> {
  const { settings, logger, shutdown, say } = context
  const databaseUrl = settings.databaseUrl ?? (await startEmbedded(context))
  const { applicationName, poolMax = POOL_MAX } = options
  const store = createStore(databaseUrl, { max: poolMax, applicationName })
  shutdown.defer('database', () => store.close())
  await waitForDatabase(store.pool, {
    timeoutMs: DATABASE_WAIT_MS,
    onWait: (reason) => say(`Waiting up to ${DATABASE_WAIT_MS / 1_000} s for the database (${reason}) ...`),
  })
  const backend = createQueueBackend(
    settings.redisUrl === undefined
      ? { kind: 'postgres', url: databaseUrl }
      : { kind: 'redis', url: settings.redisUrl },
    logger,
  )
  return { databaseUrl, store, backend }
}

/** Makes tables, partitions and the queue's own tables, or finds them made. */
export async function prepareStores({ store, backend }: Stores): Promise<string[]> {
  const applied = await migrate(store.pool)
  await backend.prepare()
  return applied
}

async function startEmbedded(context: {
  settings: Settings
  logger: Logger
  shutdown: Shutdown
  say(line: string): void
}): Promise<string> {
  const { settings, logger, shutdown, say } = context
  const postgres = await startEmbeddedPostgres({
    dataDir: join(settings.dataDir, 'postgres'),
    logger,
    settings: { max_connections: String(embeddedMaxConnections(settings)) },
    onProgress: say,
    onEnded() {
      // A start recovers what a running program cannot: it belongs to whoever watches over this one.
      say('PostgreSQL was ended from outside. Start Posthorn again: it recovers by itself.')
      shutdown.stop({ failed: true })
    },
  })
  shutdown.defer('embedded PostgreSQL', () => postgres.stop())
  return postgres.url
}

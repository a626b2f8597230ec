import { createQueueBackend, type QueueBackend } from '@posthorn/queue'
import {
  createLogger,
  type Logger,
  onShutdown,
  parseSettings,
  type Settings,
  type Shutdown,
} from '@posthorn/runtime'
import { createStore, type Pool, type Store, waitForDatabase } from '@posthorn/store'
import type { PlantedBug } from './planted-bugs.ts'

export interface PlantedContext {
  store: Store
  backend: QueueBackend
  settings: Settings
  logger: Logger
  shutdown: Shutdown
}

/** What a program of the production opens, with the bug's statements in the place of its own. */
export async function openPlantedStores(bug: PlantedBug, name: string): Promise<PlantedContext> {
  const settings = parseSettings(process.env)
  const logger = createLogger({ level: settings.logLevel, name })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  const databaseUrl = settings.databaseUrl!
  const store = createStore(databaseUrl, { max: 20, applicationName: name })
  shutdown.defer('database', () => store.close())
  await waitForDatabase(store.pool, { timeoutMs: 60_000, onWait: () => {} })
  rewriteStatements(store.pool, bug.statements ?? {})
  const backend = createQueueBackend(
    settings.redisUrl === undefined
      ? { kind: 'postgres', url: databaseUrl }
      : { kind: 'redis', url: settings.redisUrl },
    logger,
  )
  return { store, backend, settings, logger, shutdown }
}

interface NamedStatement {
  name?: string
  text: string
}

function rewriteStatements(pool: Pool, rewrites: Record<string, (text: string) => string>): void {
  const query = pool.query.bind(pool) as (...args: unknown[]) => unknown
  pool.query = ((statement: string | NamedStatement, ...rest: unknown[]) => {
    // A statement with something more is named after it, with a colon: record-attempts:exhausted.
    const rewrite = typeof statement === 'object' ? rewrites[statement.name?.split(':')[0] ?? ''] : undefined
    if (rewrite === undefined || typeof statement === 'string') return query(statement, ...rest)
    return query({ ...statement, text: rewrite(statement.text) }, ...rest)
  }) as Pool['query']
}

import { createQueueBackend, type QueueBackend } from '@posthorn/queue'
import {
  createLogger,
  type Logger,
  onShutdown,
  parseSettings,
  type Settings,
  type Shutdown,
} from '@posthorn/runtime'
import { createStore, createVault, type Pool, type Store, type Vault, waitForDatabase } from '@posthorn/store'
import type { PlantedBug } from './planted-bugs.ts'

export interface PlantedContext {
  store: Store
  vault: Vault
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
  rewriteStatements(store.pool, bug.statements ?? {})
  shutdown.defer('database', () => store.close())
  await waitForDatabase(store.pool, { timeoutMs: 60_000, onWait: () => {} })
  const backend = createQueueBackend(
    settings.redisUrl === undefined
      ? { kind: 'postgres', url: databaseUrl }
      : { kind: 'redis', url: settings.redisUrl },
    logger,
  )
  const opened = createVault(settings.masterKeys!)
  const vault = bug.decorateVault?.(opened) ?? opened
  const planted = withWorkerOptions(backend, bug.workerOptions ?? {})
  return { store, vault, backend: planted, settings, logger, shutdown }
}

function withWorkerOptions(backend: QueueBackend, more: Record<string, number>): QueueBackend {
  return {
    ...backend,
    createWorker: (name, process, options) => backend.createWorker(name, process, { ...options, ...more }),
  }
}

interface NamedStatement {
  name?: string
  text: string
}

/** Of every connection, so that those in a transaction are among them. */
function rewriteStatements(pool: Pool, rewrites: Record<string, (text: string) => string>): void {
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...args: unknown[]) => unknown
    client.query = ((statement: string | NamedStatement, ...rest: unknown[]) => {
      // A statement with something more is named after it, with a colon: record-attempts:exhausted.
      const rewrite =
        typeof statement === 'object' ? rewrites[statement.name?.split(':')[0] ?? ''] : undefined
      if (rewrite === undefined || typeof statement === 'string') return query(statement, ...rest)
      return query({ ...statement, text: rewrite(statement.text) }, ...rest)
    }) as typeof client.query
  })
}

import type { Logger, Settings, Shutdown } from '@posthorn/runtime'
import type { Vault } from '@posthorn/store'
import { startWorker } from '@posthorn/worker'
import { refuseTooManyConnections } from './connections.ts'
import type { Stores } from './database.ts'
import { startWorkerProcesses } from './start-worker-processes.ts'

/** One worker in this process, or as many processes as POSTHORN_WORKERS says; closed by `shutdown`. */
export async function runWorkers(
  context: Stores & {
    env: NodeJS.ProcessEnv
    settings: Settings
    masterKeys: readonly Buffer[]
    vault: Vault
    logger: Logger
    shutdown: Shutdown
  },
): Promise<void> {
  const { store, settings, masterKeys, logger, shutdown } = context
  if (settings.workers === 1) {
    const worker = startWorker(context)
    shutdown.defer('worker', () => worker.close())
    return
  }
  await refuseTooManyConnections(store.pool, settings)
  const processes = startWorkerProcesses({
    count: settings.workers,
    env: {
      ...context.env,
      // Database and keys may be the embedded ones, of which the environment knows nothing.
      DATABASE_URL: context.databaseUrl,
      POSTHORN_MASTER_KEY: masterKeys.map((key) => key.toString('base64')).join(),
      POSTHORN_WORKERS: '1',
    },
    logger,
  })
  shutdown.defer('worker processes', () => processes.close())
}

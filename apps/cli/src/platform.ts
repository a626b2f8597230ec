import type { RunningApi } from '@posthorn/api'
import type { Logger, Settings, Shutdown } from '@posthorn/runtime'
import { openStores, prepareStores, type Stores } from './database.ts'
import { runWorkers } from './run-workers.ts'
import { serveApi } from './serve-api.ts'
import { loadMasterKeys, openVault } from './vault.ts'

/**
 * Everything in one process: database, migrations, worker and API, closed in the opposite order. With
 * POSTHORN_WORKERS of more than 1, the workers are processes of their own.
 */
export async function startPlatform(context: {
  env: NodeJS.ProcessEnv
  settings: Settings
  logger: Logger
  shutdown: Shutdown
  say(line: string): void
}): Promise<RunningApi & Stores> {
  const { settings, logger, shutdown } = context
  const masterKeys = await loadMasterKeys(settings)
  const stores = await openStores(context, { applicationName: 'posthorn' })
  await prepareStores(stores)
  const vault = await openVault(stores.store.pool, masterKeys)
  await runWorkers({ ...stores, ...context, vault, masterKeys })
  const api = await serveApi({ ...stores, vault, settings, logger, shutdown })
  return { ...api, ...stores }
}

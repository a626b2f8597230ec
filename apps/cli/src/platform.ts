import type { RunningApi } from '@posthorn/api'
import type { Logger, Settings, Shutdown } from '@posthorn/runtime'
import { startWorker } from '@posthorn/worker'
import { openStores, prepareStores, type Stores } from './database.ts'
import { serveApi } from './serve-api.ts'
import { loadMasterKeys, openVault } from './vault.ts'

/** Everything in one process: database, migrations, worker and API, closed in the opposite order. */
export async function startPlatform(context: {
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
  const worker = startWorker({ ...stores, vault, settings, logger })
  shutdown.defer('worker', () => worker.close())
  const api = await serveApi({ ...stores, vault, settings, logger, shutdown })
  return { ...api, ...stores }
}

import { startApi } from '@posthorn/api'
import { createLogger, onShutdown, parseSettings } from '@posthorn/runtime'
import { openStores, requireDatabaseUrl } from './database.ts'

/** `posthorn api`: the REST API alone. */
export async function api(env: NodeJS.ProcessEnv): Promise<void> {
  const settings = parseSettings(env)
  requireDatabaseUrl(settings)
  const logger = createLogger({ level: settings.logLevel, name: 'posthorn-api' })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  const say = (line: string) => logger.info(line)
  const stores = await openStores({ settings, logger, shutdown, say }, { applicationName: 'posthorn-api' })
  const running = await startApi({ ...stores, settings, logger })
  shutdown.defer('API', () => running.close())
  logger.info({ url: running.url }, 'api.ready')
}

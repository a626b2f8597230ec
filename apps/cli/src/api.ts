import { createLogger, onShutdown, parseSettings } from '@posthorn/runtime'
import { openStores, requireDatabaseUrl } from './database.ts'
import { serveApi } from './serve-api.ts'

/** `posthorn api`: the REST API alone. */
export async function api(env: NodeJS.ProcessEnv): Promise<void> {
  const settings = parseSettings(env)
  requireDatabaseUrl(settings)
  const logger = createLogger({ level: settings.logLevel, name: 'posthorn-api' })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  const say = (line: string) => logger.info(line)
  const stores = await openStores({ settings, logger, shutdown, say }, { applicationName: 'posthorn-api' })
  const running = await serveApi({ ...stores, settings, logger, shutdown })
  logger.info({ url: running.url }, 'api.ready')
}

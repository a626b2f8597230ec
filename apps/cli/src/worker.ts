import { createLogger, onShutdown, parseSettings } from '@posthorn/runtime'
import { startWorker } from '@posthorn/worker'
import { openStores, requireDatabaseUrl } from './database.ts'

/** `posthorn worker`: delivers and sweeps. Run as many as there is work for. */
export async function worker(env: NodeJS.ProcessEnv): Promise<void> {
  const settings = parseSettings(env)
  requireDatabaseUrl(settings)
  const logger = createLogger({ level: settings.logLevel, name: 'posthorn-worker' })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  const say = (line: string) => logger.info(line)
  const stores = await openStores({ settings, logger, shutdown, say }, { applicationName: 'posthorn-worker' })
  const running = startWorker({ ...stores, settings, logger })
  shutdown.defer('worker', () => running.close())
  logger.info('worker.ready')
}

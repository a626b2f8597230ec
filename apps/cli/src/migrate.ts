import { createLogger, onShutdown, parseSettings } from '@posthorn/runtime'
import { openStores, prepareStores, requireDatabaseUrl } from './database.ts'

/** `posthorn migrate`: brings the database up to date, and exits. */
export async function migrateCommand(env: NodeJS.ProcessEnv): Promise<void> {
  const settings = parseSettings(env)
  requireDatabaseUrl(settings)
  const logger = createLogger({ level: settings.logLevel, name: 'posthorn-migrate' })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  const say = (line: string) => void process.stdout.write(`${line}\n`)
  const stores = await openStores(
    { settings, logger, shutdown, say },
    { applicationName: 'posthorn-migrate' },
  )
  const applied = await prepareStores(stores)
  say(applied.length === 0 ? 'The database is up to date.' : `Applied: ${applied.join(', ')}`)
  shutdown.stop()
}

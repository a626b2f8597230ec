import { createLogger, onShutdown, parseSettings } from '@posthorn/runtime'
import { createApiKey } from '@posthorn/store'
import { openStores, prepareStores } from './database.ts'

/** `posthorn keys create`: makes an API key. It is printed this once; the database keeps its SHA-256. */
export async function createKey(env: NodeJS.ProcessEnv, options: { name: string }): Promise<void> {
  const settings = parseSettings(env)
  const logger = createLogger({ level: 'warn', name: 'posthorn-keys' })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const stores = await openStores({ settings, logger, shutdown, say }, { applicationName: 'posthorn-keys' })
  await prepareStores(stores)
  const { key } = await createApiKey(stores.store, { name: options.name, role: 'admin' })
  // Alone on standard output, so that a script can take it.
  process.stdout.write(`${key}\n`)
  shutdown.stop()
}

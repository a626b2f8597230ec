import { createApiKey } from '@posthorn/store'
import { prepareStores } from './database.ts'
import { runCommand } from './run-command.ts'

/** `posthorn keys create`: makes an API key. It is printed this once; the database keeps its SHA-256. */
export async function createKey(env: NodeJS.ProcessEnv, options: { name: string }): Promise<void> {
  // The key stands alone on standard output, so that a script can take it.
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  await runCommand(
    { POSTHORN_LOG_LEVEL: 'warn', ...env },
    { name: 'posthorn-keys', say },
    async (context) => {
      await prepareStores(context)
      const { key } = await createApiKey(context.store, { name: options.name, role: 'admin' })
      process.stdout.write(`${key}\n`)
      context.shutdown.stop()
    },
  )
}

import { prepareStores } from './database.ts'
import { runCommand } from './run-command.ts'
import { openVault } from './vault.ts'

/** `posthorn migrate`: brings the database up to date, and exits. */
export async function migrateCommand(env: NodeJS.ProcessEnv): Promise<void> {
  const say = (line: string) => void process.stdout.write(`${line}\n`)
  await runCommand(
    { POSTHORN_LOG_LEVEL: 'warn', ...env },
    { name: 'posthorn-migrate', needsDatabaseUrl: true, needsMasterKey: true, say },
    async (context) => {
      const applied = await prepareStores(context)
      // What a version before encryption stored as it is, is encrypted.
      await openVault(context.store.pool, context.masterKeys)
      say(applied.length === 0 ? 'The database is up to date.' : `Applied: ${applied.join(', ')}`)
      context.shutdown.stop()
    },
  )
}

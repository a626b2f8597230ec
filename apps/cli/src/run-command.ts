import {
  createLogger,
  type Logger,
  onShutdown,
  parseSettings,
  type Settings,
  type Shutdown,
} from '@posthorn/runtime'
import { CommandError } from './command-error.ts'
import { openStores, type Stores } from './database.ts'
import { loadMasterKeys } from './vault.ts'

export interface CommandContext extends Stores {
  settings: Settings
  /** Of a command that needs them; see `openVault`. */
  masterKeys: readonly Buffer[]
  logger: Logger
  shutdown: Shutdown
}

export interface CommandOptions {
  /** In log lines and in the database's list of connections. */
  name: string
  /** The command runs beside others of its kind: it does not bring a database of its own. */
  needsDatabaseUrl?: true
  /** The command reads or writes secrets, or lets others do it. */
  needsMasterKey?: true
  /** Where progress goes; the log where left out. */
  say?(line: string): void
}

/** Reads the settings, opens the stores and runs; what was opened is closed when the process is told to stop. */
export async function runCommand(
  env: NodeJS.ProcessEnv,
  { name, needsDatabaseUrl, needsMasterKey, say }: CommandOptions,
  run: (context: CommandContext) => Promise<void> | void,
): Promise<void> {
  const settings = parseSettings(env)
  if (needsDatabaseUrl && settings.databaseUrl === undefined) {
    throw new CommandError(
      'DATABASE_URL is not set. Set it to a PostgreSQL 18 database, or run `start`, which brings its own.',
    )
  }
  const masterKeys = needsMasterKey ? await loadMasterKeys(settings) : []
  const logger = createLogger({ level: settings.logLevel, name })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  const stores = await openStores(
    { settings, logger, shutdown, say: say ?? ((line) => logger.info(line)) },
    { applicationName: name },
  )
  await run({ ...stores, settings, masterKeys, logger, shutdown })
}

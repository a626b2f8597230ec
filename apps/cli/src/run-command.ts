import {
  createLogger,
  type Logger,
  onShutdown,
  parseSettings,
  type Settings,
  type Shutdown,
} from '@posthorn/runtime'
import { CommandError } from './command-error.ts'
import { SUPERVISED_POOL_MAX } from './connections.ts'
import { openStores, type Stores } from './database.ts'
import { loadMasterKeys } from './vault.ts'

export interface CommandContext extends Stores {
  env: NodeJS.ProcessEnv
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
  /** The process is one of several that another one started and watches over. */
  supervised?: boolean
  /** Where progress goes; the log where left out. */
  say?(line: string): void
}

/** Less than the supervisor waits: it then says itself what it could not close. */
const SUPERVISED_BOUND_MS = 20_000

/** Reads the settings, opens the stores and runs; what was opened is closed when the process is told to stop. */
export async function runCommand(
  env: NodeJS.ProcessEnv,
  { name, needsDatabaseUrl, needsMasterKey, supervised = false, say }: CommandOptions,
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
  const boundMs = supervised ? SUPERVISED_BOUND_MS : 30_000
  const shutdown = onShutdown({ logger, boundMs, supervised })
  await shutdown.starting(async () => {
    const stores = await openStores(
      { settings, logger, shutdown, say: say ?? ((line) => logger.info(line)) },
      { applicationName: name, ...(supervised && { poolMax: SUPERVISED_POOL_MAX }) },
    )
    await run({ ...stores, env, settings, masterKeys, logger, shutdown })
  })
}

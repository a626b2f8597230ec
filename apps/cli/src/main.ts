#!/usr/bin/env node
import { ROLES } from '@posthorn/contracts'
import { EmbeddedPostgresError } from '@posthorn/embedded'
import { SettingsError } from '@posthorn/runtime'
import { DatabaseUnreachableError, MigrationError } from '@posthorn/store'
import { Command, InvalidArgumentError, Option } from 'commander'
import { CommandError } from './command-error.ts'
import type { CreateKeyOptions } from './keys.ts'

const program = new Command('posthorn')
  .description('Outbound webhooks: emit an event, and every subscriber gets it signed, retried and logged.')
  .showHelpAfterError()

program
  .command('start')
  .description('run everything in one process, with an embedded PostgreSQL unless DATABASE_URL is set')
  .action(async () => (await import('./start.ts')).start(process.env))

program
  .command('demo')
  .description('start the platform, deliver to a receiver of its own, and show what happened')
  .option('--once', 'end with exit code 0 when everything was seen to work')
  .action(async (options: { once?: true }) => (await import('./demo.ts')).demo(process.env, options))

program
  .command('listen')
  .description('run a webhook receiver on this machine that shows and verifies what it gets')
  .option('--port <port>', 'port to listen on', parsePort, 4000)
  .option('--secret <whsec>', 'signing secret to verify with')
  .option('--status <status>', 'HTTP status to answer with', parseStatus, 200)
  .action(async (options: { port: number; secret?: string; status: number }) =>
    (await import('./listen.ts')).listen(options),
  )

program
  .command('api')
  .description('run the REST API (needs DATABASE_URL)')
  .action(async () => (await import('./api.ts')).api(process.env))

program
  .command('worker')
  .description('run a worker (needs DATABASE_URL)')
  // Of the processes that POSTHORN_WORKERS asks for: not for users.
  .addOption(new Option('--supervised', 'end with the process that started this one').hideHelp())
  .action(async (options: { supervised?: true }) =>
    (await import('./worker.ts')).worker(process.env, options),
  )

program
  .command('migrate')
  .description('bring the database up to date (needs DATABASE_URL)')
  .action(async () => (await import('./migrate.ts')).migrateCommand(process.env))

const keys = program.command('keys').description('API keys')

keys
  .command('create')
  .description('make an API key and print it, this once')
  .requiredOption('--name <name>', 'what the key is for')
  .addOption(new Option('--role <role>', 'what it may do').choices(ROLES).default('admin'))
  .option('--owner <owner>', 'id or uid of the owner whose things it is for (with --role owner)')
  .option('--expires <when>', 'when it ends: a time such as 2027-01-31T00:00:00Z, or a duration such as 90d')
  .action(async (options: CreateKeyOptions) => (await import('./keys.ts')).createKey(process.env, options))

keys
  .command('list')
  .description('list the API keys, newest first, without their texts')
  .action(async () => (await import('./keys.ts')).listKeys(process.env))

keys
  .command('revoke')
  .description('revoke an API key for good')
  .argument('<key>', 'id of the key, key_…')
  .action(async (key: string) => (await import('./keys.ts')).revokeKey(process.env, key))

keys
  .command('end-tokens')
  .description('end all owner tokens that were made so far')
  .action(async () => (await import('./keys.ts')).endTokens(process.env))

program
  .command('expunge')
  .description('take away payloads, and keep the record that they were sent')
  .option('--message <id>', 'of one message')
  .option('--owner <owner>', 'of an owner: its id or uid')
  .option('--before <time>', 'of messages accepted before this time, or longer ago than this: 30d')
  .action(async (options: { message?: string; owner?: string; before?: string }) =>
    (await import('./expunge.ts')).expunge(process.env, options),
  )

const masterKey = program.command('master-key').description('the key that encrypts secrets in the database')
masterKey
  .command('create')
  .description('print a new one, for POSTHORN_MASTER_KEY')
  .action(async () => (await import('./master-key.ts')).createMasterKey())
masterKey
  .command('rotate')
  .description('encrypt under the first of POSTHORN_MASTER_KEY what is under the others')
  .action(async () => (await import('./master-key.ts')).rotateMasterKey(process.env))

try {
  await program.parseAsync(process.argv.filter((argument, at) => !(at === 2 && argument === '--')))
} catch (error) {
  if (!isExpected(error)) throw error
  process.stderr.write(`posthorn: ${error.message}\n`)
  process.exit(1)
}

/** Mistakes and circumstances that the user can mend: one line that says how, and no stack. */
function isExpected(error: unknown): error is Error {
  return (
    error instanceof SettingsError ||
    error instanceof CommandError ||
    error instanceof MigrationError ||
    error instanceof DatabaseUnreachableError ||
    error instanceof EmbeddedPostgresError
  )
}

function parsePort(text: string): number {
  const port = Number(text)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new InvalidArgumentError('It must be a whole number from 0 to 65535.')
}

function parseStatus(text: string): number {
  const status = Number(text)
  if (Number.isInteger(status) && status >= 200 && status <= 599) return status
  throw new InvalidArgumentError('It must be a whole number from 200 to 599.')
}

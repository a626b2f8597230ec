import { API_KEY_NAME_LENGTH_MAX, decodeId, encodeId, isUid, parseTime, type Role } from '@posthorn/contracts'
import { parseDuration } from '@posthorn/runtime'
import {
  type ApiKeyRecord,
  createApiKey,
  findOwner,
  insertAuditEntry,
  listApiKeys,
  type NewAuditEntry,
  renewSharedSecret,
  revokeApiKey,
} from '@posthorn/store'
import { CommandError } from './command-error.ts'
import { prepareStores } from './database.ts'
import { type CommandContext, runCommand } from './run-command.ts'

export interface CreateKeyOptions {
  name: string
  role: Role
  /** Id or uid. */
  owner?: string
  /** A time, or a duration from now. */
  expires?: string
}

/** `posthorn keys create`: makes an API key. It is printed this once; the database keeps its SHA-256. */
export async function createKey(env: NodeJS.ProcessEnv, options: CreateKeyOptions): Promise<void> {
  const { name, role, owner } = options
  if (name.length === 0 || name.length > API_KEY_NAME_LENGTH_MAX || /\p{Cc}/u.test(name)) {
    throw new CommandError(
      `--name must be 1 to ${API_KEY_NAME_LENGTH_MAX} characters without control characters.`,
    )
  }
  if ((role === 'owner') !== (owner !== undefined)) {
    throw new CommandError('--owner must be given with --role owner, and with no other role.')
  }
  const expiresAt = options.expires === undefined ? undefined : expiry(options.expires)
  await runKeysCommand(env, async (context) => {
    const { store } = context
    const ownerId = owner === undefined ? undefined : await findOwnerId(context, owner)
    const result = await createApiKey(store, {
      name,
      role,
      ...(ownerId !== undefined && { ownerId }),
      ...(expiresAt !== undefined && { expiresAt }),
    })
    if (result.kind === 'unknown-owner') throw new CommandError(`There is no owner ${owner}.`)
    const members = [
      'name',
      'role',
      ...(owner === undefined ? [] : ['owner']),
      ...(expiresAt ? ['expiresAt'] : []),
    ]
    await noteInAuditLog(context, { route: 'keys create', members, ...aboutKey(result.apiKey) })
    process.stdout.write(`${result.key}\n`)
  })
}

const LISTED_AT_ONCE = 250

/** `posthorn keys list`: a line for each key. */
export async function listKeys(env: NodeJS.ProcessEnv): Promise<void> {
  await runKeysCommand(env, async ({ store }) => {
    const time = (at: Date | null) => at?.toISOString() ?? 'never'
    let cursor: string | undefined
    do {
      const page = await listApiKeys(store.prisma, {
        limit: LISTED_AT_ONCE,
        ...(cursor !== undefined && { cursor }),
      })
      for (const { id, role, ownerId, name, revokedAt, expiresAt, lastUsedAt } of page) {
        const whose = ownerId === null ? role : `${role} ${encodeId('own', ownerId)}`
        const ends = revokedAt === null ? `expires: ${time(expiresAt)}` : `revoked: ${time(revokedAt)}`
        process.stdout.write(
          `${encodeId('key', id)}  ${whose}  ${ends}  last used: ${time(lastUsedAt)}  ${name}\n`,
        )
      }
      cursor = page.length === LISTED_AT_ONCE ? page.at(-1)!.id : undefined
    } while (cursor !== undefined)
  })
}

/** `posthorn keys revoke`: for good. */
export async function revokeKey(env: NodeJS.ProcessEnv, key: string): Promise<void> {
  const id = decodeId('key', key)
  if (id === undefined) throw new CommandError(`${key} is no id of a key. \`keys list\` has them: key_…`)
  await runKeysCommand(env, async (context) => {
    const result = await revokeApiKey(context.store.prisma, id)
    if (result.kind === 'unknown') throw new CommandError(`There is no API key ${key}.`)
    if (result.kind === 'revoked') {
      await noteInAuditLog(context, { route: 'keys revoke', members: [], ...aboutKey(result.apiKey) })
    }
    process.stdout.write(`${key} is revoked.\n`)
  })
}

/** `posthorn keys end-tokens`: no owner token that was made so far is good any more. */
export async function endTokens(env: NodeJS.ProcessEnv): Promise<void> {
  await runKeysCommand(env, async (context) => {
    await renewSharedSecret(context.store.pool, 'owner-token')
    await noteInAuditLog(context, {
      route: 'keys end-tokens',
      members: [],
      resource: 'owner-tokens',
      resourceId: null,
      ownerId: null,
    })
    process.stdout.write('All owner tokens have ended.\n')
  })
}

async function runKeysCommand(
  env: NodeJS.ProcessEnv,
  run: (context: CommandContext) => Promise<void>,
): Promise<void> {
  // What was asked for stands alone on standard output, so that a script can take it.
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  await runCommand(
    { POSTHORN_LOG_LEVEL: 'warn', ...env },
    { name: 'posthorn-keys', say },
    async (context) => {
      await prepareStores(context)
      try {
        await run(context)
        context.shutdown.stop()
      } catch (error) {
        if (!(error instanceof CommandError)) throw error
        say(`posthorn: ${error.message}`)
        context.shutdown.stop({ failed: true })
      }
    },
  )
}

function expiry(text: string): Date {
  const durationMs = parseDuration(text)
  const at = durationMs === undefined ? parseTime(text) : new Date(Date.now() + durationMs)
  if (at !== undefined && at.getTime() > Date.now()) return at
  throw new CommandError(
    `--expires is ${JSON.stringify(text)}: it must be a time in the future, such as 2030-01-31T00:00:00Z, or a duration, such as 90d.`,
  )
}

async function findOwnerId({ store }: CommandContext, text: string): Promise<string> {
  const id = decodeId('own', text)
  const owner = id === undefined && isUid(text) ? await findOwner(store.prisma, { uid: text }) : undefined
  const found = id ?? owner?.id
  if (found === undefined) throw new CommandError(`There is no owner ${text}.`)
  return found
}

function aboutKey({ id, ownerId }: ApiKeyRecord): Pick<NewAuditEntry, 'resource' | 'resourceId' | 'ownerId'> {
  return { resource: 'api-key', resourceId: encodeId('key', id), ownerId }
}

async function noteInAuditLog(
  { store }: CommandContext,
  entry: Pick<NewAuditEntry, 'route' | 'members' | 'resource' | 'resourceId' | 'ownerId'>,
): Promise<void> {
  await insertAuditEntry(store.pool, {
    actor: 'cli',
    actorName: null,
    actorOwnerId: null,
    address: null,
    method: 'CLI',
    status: null,
    requestId: null,
    ...entry,
  })
}

import { decodeId, isUid, parseTime } from '@posthorn/contracts'
import { expungePayloads } from '@posthorn/dispatch'
import { parseDuration } from '@posthorn/runtime'
import { type Expunged, expungeMessage, findMessage, findOwner, type Store } from '@posthorn/store'
import { CommandError } from './command-error.ts'
import { runCommand } from './run-command.ts'

export interface ExpungeOptions {
  message?: string
  owner?: string
  /** A time, or how long ago. */
  before?: string
}

/** `posthorn expunge`: takes away payloads, once. */
export async function expunge(env: NodeJS.ProcessEnv, options: ExpungeOptions): Promise<void> {
  const before = options.before === undefined ? undefined : readBefore(options.before)
  const isMessage = options.message !== undefined
  if (isMessage === (options.owner !== undefined || before !== undefined)) {
    throw new CommandError('Say whose payloads: --message by itself, or --owner, --before or both of them.')
  }
  const say = (line: string) => void process.stdout.write(`${line}\n`)
  await runCommand(
    { POSTHORN_LOG_LEVEL: 'warn', ...env },
    { name: 'posthorn-expunge', say },
    async ({ store, shutdown }) => {
      const { messages, cancelled } = isMessage
        ? await expungeOne(store, options.message!)
        : await expungeMany(store, options.owner, before)
      say(`Payloads expunged: ${messages}. Deliveries cancelled: ${cancelled}.`)
      shutdown.stop()
    },
  )
}

async function expungeOne({ pool }: Store, text: string): Promise<Expunged> {
  const id = decodeId('msg', text)
  if (id === undefined || (await findMessage(pool, id)) === undefined) {
    throw new CommandError(`There is no message ${text}.`)
  }
  return await expungeMessage(pool, id)
}

async function expungeMany({ pool, prisma }: Store, owner?: string, before?: Date): Promise<Expunged> {
  const ownerId = owner === undefined ? undefined : await findOwnerId(prisma, owner)
  return await expungePayloads(
    { pool },
    { ...(ownerId !== undefined && { ownerId }), ...(before !== undefined && { before }) },
  )
}

/** One that was deleted can still be named by its id. */
async function findOwnerId(prisma: Store['prisma'], text: string): Promise<string> {
  const id = decodeId('own', text) ?? (isUid(text) ? (await findOwner(prisma, { uid: text }))?.id : undefined)
  if (id === undefined) throw new CommandError(`There is no owner ${text}.`)
  return id
}

function readBefore(text: string): Date {
  const agoMs = parseDuration(text)
  const isTime = /^\d{4}-\d{2}-\d{2}T.*(Z|[+-]\d{2}:\d{2})$/.test(text)
  const time = agoMs !== undefined ? new Date(Date.now() - agoMs) : isTime ? parseTime(text) : undefined
  if (time !== undefined) return time
  throw new CommandError('--before is a time such as 2026-11-21T09:30:00Z, or how long ago, such as 30d.')
}

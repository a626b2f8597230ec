import {
  type EmitJob,
  type EmitJobMessage,
  isEventType,
  isIdempotencyKey,
  parseTime,
} from '@posthorn/contracts'
import { HopelessJobError } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import type { Accept, AcceptResult } from './accept.ts'

/** Some messages of a job can never be accepted; the others were. */
export class RefusedMessagesError extends HopelessJobError {
  readonly code = 'messages_refused'
}

/**
 * Accepts the messages of a job that an application put straight into the queue.
 *
 * Every message of it has an id, so taking the job again after a crash doubles nothing.
 *
 * @throws {RefusedMessagesError} after all others were accepted, naming each refused message and why;
 *   another error where the database could not be asked: the job is to be run again
 */
export async function acceptJob(
  context: { accept: Accept; logger: Logger; payloadBytesMax: number },
  job: EmitJob,
): Promise<void> {
  const refused: string[] = []
  await Promise.all(
    job.messages.map(async (message) => {
      const reason = refusal(await acceptMessage(context, message))
      if (reason === undefined) return
      context.logger.error(
        { id: message.id, owner: message.owner, type: message.type, reason },
        'emit.refused',
      )
      refused.push(`${message.id}: ${reason}`)
    }),
  )
  if (refused.length > 0) throw new RefusedMessagesError(refused.join('; '))
}

async function acceptMessage(
  { accept, payloadBytesMax }: { accept: Accept; payloadBytesMax: number },
  message: EmitJobMessage,
): Promise<AcceptResult | { kind: 'invalid'; reason: string }> {
  const invalid = (reason: string) => ({ kind: 'invalid' as const, reason })
  const data = Buffer.from(message.data)
  if (!isEventType(message.type)) return invalid('invalid_event_type')
  if (!isJson(message.data)) return invalid('invalid_json')
  if (data.length > payloadBytesMax) return invalid('payload_too_large')
  if (!isIdempotencyKey(message.id)) return invalid('invalid_idempotency_key')
  const timestamp = message.timestamp === undefined ? undefined : parseTime(message.timestamp)
  if (message.timestamp !== undefined && timestamp === undefined) return invalid('invalid_timestamp')
  return await accept.accept({
    id: message.id,
    owner: message.owner,
    type: message.type,
    data,
    ...(timestamp !== undefined && { timestamp }),
  })
}

function refusal(result: AcceptResult | { kind: 'invalid'; reason: string }): string | undefined {
  switch (result.kind) {
    case 'accepted':
      return undefined
    case 'invalid':
      return result.reason
    case 'conflict':
      return 'idempotency_conflict'
    default:
      return result.kind.replaceAll('-', '_')
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

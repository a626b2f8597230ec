import { PosthornError } from './errors.ts'
import { createMessageId } from './message-id.ts'
import type { EmitOptions, EmittedMessage, OutgoingMessage } from './types.ts'

/** Checks and serialises an event once, and hands it over; resolves when it is durable. */
export async function emit(
  send: (message: OutgoingMessage) => Promise<EmittedMessage>,
  type: string,
  data: unknown,
  options: EmitOptions,
): Promise<EmittedMessage> {
  return send(toMessage(type, data, options))
}

function toMessage(type: string, data: unknown, options: EmitOptions): OutgoingMessage {
  const { owner, id: ownId } = options ?? {}
  checkName('event type', type)
  checkName('owner', owner)
  if (ownId !== undefined) checkName('id', ownId)
  const id = ownId ?? createMessageId()
  const timestamp = toTimestamp(options.timestamp)
  const dataJson = toJson(type, data)
  const json =
    `{"owner":${JSON.stringify(owner)},"type":${JSON.stringify(type)},"id":${JSON.stringify(id)}` +
    `${timestamp === undefined ? '' : `,"timestamp":${JSON.stringify(timestamp)}`},"data":${dataJson}}`
  return {
    id,
    ownId: ownId !== undefined,
    owner,
    type,
    timestamp,
    data: dataJson,
    json,
    bytes: Buffer.byteLength(json),
  }
}

function checkName(what: string, value: unknown): asserts value is string {
  if (typeof value !== 'string' || value === '') {
    throw new PosthornError('invalid_event', `emit() needs the ${what} as a string that is not empty.`)
  }
}

function toTimestamp(timestamp: Date | string | undefined): string | undefined {
  if (!(timestamp instanceof Date)) return timestamp
  if (Number.isNaN(timestamp.getTime())) {
    throw new PosthornError('invalid_event', 'emit() got an invalid Date as timestamp.')
  }
  return timestamp.toISOString()
}

function toJson(type: string, data: unknown): string {
  let json: string | undefined
  try {
    json = JSON.stringify(data)
  } catch (cause) {
    throw new PosthornError('invalid_event', `The data of "${type}" cannot be written as JSON.`, { cause })
  }
  // JSON.stringify answers undefined for undefined, functions and symbols.
  if (json === undefined) {
    throw new PosthornError('invalid_event', `The data of "${type}" is ${typeof data}, which is not JSON.`)
  }
  return json
}

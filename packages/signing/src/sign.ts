import { createHmac } from 'node:crypto'
import type { SigningKey } from './secret.ts'

export interface SignInput {
  /** Message id, the value of `webhook-id`. */
  readonly id: string
  /** Time of this attempt in whole seconds since 1970, the value of `webhook-timestamp`. */
  readonly timestampS: number
  /** The bytes of the request body; a string is signed as UTF-8. */
  readonly body: Uint8Array | string
  /** Keys of the endpoint's secrets: several while a secret is being rotated. */
  readonly keys: readonly SigningKey[]
}

export interface SignedHeaders {
  'webhook-id': string
  'webhook-timestamp': string
  'webhook-signature': string
}

/** The three headers of Standard Webhooks 1.0.0 for one attempt. */
export function signedHeaders(input: SignInput): SignedHeaders {
  return {
    'webhook-id': input.id,
    'webhook-timestamp': String(input.timestampS),
    'webhook-signature': sign(input),
  }
}

/**
 * The value of `webhook-signature` (Standard Webhooks 1.0.0): for each key `v1,` and the base64 of
 * HMAC-SHA256 over `id.timestamp.body`, joined by a space.
 *
 * @throws {TypeError} without a key, or when the timestamp is not in whole seconds
 */
export function sign({ id, timestampS, body, keys }: SignInput): string {
  if (keys.length === 0) throw new TypeError('sign() needs at least one key.')
  if (!Number.isSafeInteger(timestampS) || timestampS < 0) {
    throw new TypeError('sign() needs timestampS in whole seconds.')
  }
  const head = `${id}.${timestampS}.`
  return keys
    .map((key) => `v1,${createHmac('sha256', key).update(head).update(body).digest('base64')}`)
    .join(' ')
}

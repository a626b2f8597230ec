import { timingSafeEqual } from 'node:crypto'
import { createSigningKey, InvalidSecretError, parseSecret } from './secret.ts'
import { sign } from './sign.ts'

// Five minutes, as in Standard Webhooks 1.0.0 and its libraries.
const TOLERANCE_S = 300

/** Why a webhook was refused. */
export type WebhookVerificationCode =
  | 'body_not_raw'
  | 'missing_header'
  | 'duplicate_header'
  | 'invalid_timestamp'
  | 'timestamp_too_old'
  | 'timestamp_too_new'
  | 'no_matching_signature'
  | 'invalid_json'

/** A webhook that must not be trusted: answer it with 400. `code` is stable, the message is for people. */
export class WebhookVerificationError extends Error {
  override readonly name = 'WebhookVerificationError'
  readonly code: WebhookVerificationCode

  constructor(code: WebhookVerificationCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Headers as Node gives them (`request.headers`), or anything with `get`, such as the Fetch `Headers`. */
export type WebhookHeaders =
  | Readonly<Record<string, string | readonly string[] | undefined>>
  | { get(name: string): string | null }

export interface VerifyOptions {
  /** How far the timestamp may be from now, in seconds. Default 300. */
  readonly toleranceS?: number
  /** The time to compare with. Default: now. */
  readonly now?: Date
}

/**
 * Verifies a received webhook (Standard Webhooks 1.0.0) and returns its parsed JSON body; an empty body
 * is `undefined`. `Payload` is a statement of the caller's, it is not checked.
 *
 * @param rawBody the body exactly as received, before any JSON parser
 * @param secret the endpoint's signing secret, or several while it is being rotated: any may match
 * @throws {WebhookVerificationError} with a stable `code`
 * @throws {InvalidSecretError} `invalid_secret`
 */
export function verify<Payload = unknown>(
  rawBody: Uint8Array | string,
  headers: WebhookHeaders,
  secret: string | readonly string[],
  options: VerifyOptions = {},
): Payload {
  if (typeof rawBody !== 'string' && !(rawBody instanceof Uint8Array)) {
    throw new WebhookVerificationError(
      'body_not_raw',
      'Pass the raw body as a string or bytes: parsed JSON has lost the bytes that were signed.',
    )
  }
  const id = readHeader(headers, 'webhook-id')
  const timestampS = parseTimestamp(readHeader(headers, 'webhook-timestamp'))
  const signatures = readHeader(headers, 'webhook-signature').split(' ')
  checkAge(timestampS, options)

  const secrets = typeof secret === 'string' ? [secret] : secret
  if (secrets.length === 0) throw new InvalidSecretError('verify() needs at least one signing secret.')
  const keys = secrets.map((one) => createSigningKey(parseSecret(one)))
  const expected = sign({ id, timestampS, body: rawBody, keys }).split(' ')
  // `some` may stop early: that shows which secret matched, never a byte of a signature.
  const matches = expected.some((one) => signatures.some((received) => equalInConstantTime(one, received)))
  if (!matches) {
    throw new WebhookVerificationError(
      'no_matching_signature',
      'No signature matches: check the signing secret, and that the body is the one received.',
    )
  }
  return parseBody(rawBody) as Payload
}

function readHeader(headers: WebhookHeaders, name: string): string {
  const values = isHeadersObject(headers)
    ? [headers.get(name)]
    : Object.entries(headers)
        .filter(([key]) => key.toLowerCase() === name)
        .flatMap(([, value]) => value)
  const present = values.filter((value) => value != null && value !== '')
  if (present.length === 0)
    throw new WebhookVerificationError('missing_header', `The header ${name} is missing.`)
  if (present.length > 1) {
    throw new WebhookVerificationError('duplicate_header', `The header ${name} was sent more than once.`)
  }
  return String(present[0])
}

function isHeadersObject(headers: WebhookHeaders): headers is { get(name: string): string | null } {
  return typeof headers.get === 'function'
}

function parseTimestamp(text: string): number {
  const timestampS = Number(text)
  // The number is what gets signed, so only its one canonical spelling can be accepted.
  if (!Number.isSafeInteger(timestampS) || timestampS < 0 || String(timestampS) !== text) {
    throw new WebhookVerificationError(
      'invalid_timestamp',
      'The header webhook-timestamp is not in whole seconds.',
    )
  }
  return timestampS
}

function checkAge(timestampS: number, { toleranceS = TOLERANCE_S, now = new Date() }: VerifyOptions): void {
  const nowS = Math.floor(now.getTime() / 1000)
  if (nowS - timestampS > toleranceS) {
    throw new WebhookVerificationError(
      'timestamp_too_old',
      `The webhook is older than ${toleranceS} seconds.`,
    )
  }
  if (timestampS - nowS > toleranceS) {
    throw new WebhookVerificationError(
      'timestamp_too_new',
      `The webhook is from more than ${toleranceS} seconds in the future: check this machine's clock.`,
    )
  }
}

function equalInConstantTime(expected: string, received: string): boolean {
  const expectedBytes = Buffer.from(expected)
  const receivedBytes = Buffer.from(received)
  return expectedBytes.length === receivedBytes.length && timingSafeEqual(expectedBytes, receivedBytes)
}

function parseBody(rawBody: Uint8Array | string): unknown {
  const text =
    typeof rawBody === 'string' ? rawBody : new TextDecoder('utf-8', { ignoreBOM: true }).decode(rawBody)
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    // Without the parser's own message: it quotes the body.
    throw new WebhookVerificationError('invalid_json', 'The signature matches, but the body is not JSON.')
  }
}

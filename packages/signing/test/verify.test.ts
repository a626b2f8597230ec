import { describe, expect, test } from 'vitest'
import {
  createSigningKey,
  generateSecret,
  InvalidSecretError,
  parseSecret,
  sign,
  signedHeaders,
  verify,
  type WebhookHeaders,
  WebhookVerificationError,
} from '../src/index.ts'

const secret = generateSecret()
const keys = [createSigningKey(parseSecret(secret))]
const body = '{"type":"pay_info.paid","data":{"email":"ärzte@example.com"}}'
const timestampS = 1_760_000_000
const now = new Date(timestampS * 1000)
const signed = signedHeaders({ id: 'msg_1', timestampS, body, keys })

const at = (seconds: number) => new Date((timestampS + seconds) * 1000)
const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof WebhookVerificationError) return error.code
    throw error
  }
  return 'accepted'
}

describe('a webhook that is accepted', () => {
  test.each<[string, WebhookHeaders]>([
    ['plain lower-case headers', { ...signed }],
    [
      'headers in other cases',
      {
        'Webhook-Id': signed['webhook-id'],
        'WEBHOOK-TIMESTAMP': signed['webhook-timestamp'],
        'Webhook-Signature': signed['webhook-signature'],
      },
    ],
    ['the Fetch Headers object', new Headers({ ...signed })],
    [
      'headers with a list of one value',
      { ...signed, 'webhook-signature': [signed['webhook-signature']], accept: undefined },
    ],
    [
      'several signatures of which one matches',
      { ...signed, 'webhook-signature': `v1,AAAA v2,x ${signed['webhook-signature']} v1a,zzz` },
    ],
  ])('has %s', (_, headers) => {
    expect(verify(body, headers, secret, { now })).toEqual(JSON.parse(body))
    expect(verify(Buffer.from(body), headers, secret, { now })).toEqual(JSON.parse(body))
    expect(verify(new TextEncoder().encode(body), headers, secret, { now })).toEqual(JSON.parse(body))
  })

  test('matches any of several secrets', () => {
    expect(verify(body, { ...signed }, [generateSecret(), secret], { now })).toEqual(JSON.parse(body))
  })

  test('may be as far from now as the tolerance, either way', () => {
    for (const seconds of [-300, 300])
      expect(verify(body, { ...signed }, secret, { now: at(seconds) })).toBeTruthy()
    expect(verify(body, { ...signed }, secret, { now: at(1000), toleranceS: 1000 })).toBeTruthy()
  })

  test('may have an empty body, which is undefined', () => {
    const headers = signedHeaders({ id: 'msg_1', timestampS, body: '', keys })
    expect(verify('', { ...headers }, secret, { now })).toBeUndefined()
  })
})

describe('a webhook that is refused', () => {
  const without = (name: keyof typeof signed): WebhookHeaders => ({ ...signed, [name]: undefined })
  test.each<[string, string, WebhookHeaders]>([
    ['missing_header', 'no id', without('webhook-id')],
    ['missing_header', 'no timestamp', without('webhook-timestamp')],
    ['missing_header', 'no signature', without('webhook-signature')],
    ['missing_header', 'an empty id', { ...signed, 'webhook-id': '' }],
    ['missing_header', 'no headers', {}],
    ['missing_header', 'empty Fetch headers', new Headers()],
    ['duplicate_header', 'two ids', { ...signed, 'Webhook-Id': 'msg_2' }],
    ['duplicate_header', 'a list of signatures', { ...signed, 'webhook-signature': ['v1,a', 'v1,b'] }],
    ['invalid_timestamp', 'a word as timestamp', { ...signed, 'webhook-timestamp': 'now' }],
    ['invalid_timestamp', 'digits and letters', { ...signed, 'webhook-timestamp': `${timestampS}abc` }],
    ['invalid_timestamp', 'a fraction', { ...signed, 'webhook-timestamp': `${timestampS}.5` }],
    ['invalid_timestamp', 'an exponent', { ...signed, 'webhook-timestamp': '1e9' }],
    ['invalid_timestamp', 'leading zeros', { ...signed, 'webhook-timestamp': `0${timestampS}` }],
    ['invalid_timestamp', 'a sign', { ...signed, 'webhook-timestamp': `-${timestampS}` }],
    ['invalid_timestamp', 'too many digits', { ...signed, 'webhook-timestamp': '9'.repeat(30) }],
    ['invalid_timestamp', 'a space', { ...signed, 'webhook-timestamp': ` ${timestampS}` }],
    ['no_matching_signature', 'another id', { ...signed, 'webhook-id': 'msg_2' }],
    [
      'no_matching_signature',
      'another timestamp',
      { ...signed, 'webhook-timestamp': String(timestampS + 1) },
    ],
    [
      'no_matching_signature',
      'a bare signature',
      { ...signed, 'webhook-signature': signed['webhook-signature'].slice(3) },
    ],
    [
      'no_matching_signature',
      'another version',
      { ...signed, 'webhook-signature': signed['webhook-signature'].replace('v1,', 'v2,') },
    ],
    [
      'no_matching_signature',
      'a shortened one',
      { ...signed, 'webhook-signature': signed['webhook-signature'].slice(0, -1) },
    ],
    [
      'no_matching_signature',
      'something after it',
      { ...signed, 'webhook-signature': `${signed['webhook-signature']},x` },
    ],
    ['no_matching_signature', 'only spaces', { ...signed, 'webhook-signature': '   ' }],
    ['no_matching_signature', 'only the version', { ...signed, 'webhook-signature': 'v1,' }],
  ])('%s: %s', (code, _, headers) => {
    expect(codeOf(() => verify(body, headers, secret, { now }))).toBe(code)
  })

  test('timestamp_too_old one second after the tolerance', () => {
    expect(codeOf(() => verify(body, { ...signed }, secret, { now: at(301) }))).toBe('timestamp_too_old')
  })

  test('timestamp_too_new one second before the tolerance', () => {
    expect(codeOf(() => verify(body, { ...signed }, secret, { now: at(-301) }))).toBe('timestamp_too_new')
  })

  test('no_matching_signature when one byte of the body differs', () => {
    expect(codeOf(() => verify(`${body} `, { ...signed }, secret, { now }))).toBe('no_matching_signature')
  })

  test('no_matching_signature with another secret', () => {
    expect(codeOf(() => verify(body, { ...signed }, generateSecret(), { now }))).toBe('no_matching_signature')
  })

  test('body_not_raw when the body was parsed already', () => {
    const parsed = JSON.parse(body) as string
    expect(codeOf(() => verify(parsed, { ...signed }, secret, { now }))).toBe('body_not_raw')
  })

  test('invalid_json when the signed body is not JSON, without quoting it', () => {
    const headers = signedHeaders({ id: 'msg_1', timestampS, body: 'card=4242', keys })
    const run = () => verify('card=4242', { ...headers }, secret, { now })
    expect(codeOf(run)).toBe('invalid_json')
    expect(run).not.toThrow(/4242/)
  })

  test('invalid_secret for no secret, without looking at the signature', () => {
    expect(() => verify(body, { ...signed }, [], { now })).toThrow(InvalidSecretError)
    expect(() => verify(body, { ...signed }, 'whsec_', { now })).toThrow(InvalidSecretError)
  })
})

describe('sign', () => {
  test('refuses a time in milliseconds with a fraction, and no key', () => {
    expect(() => sign({ id: 'msg_1', timestampS: 1.5, body, keys })).toThrow(TypeError)
    expect(() => sign({ id: 'msg_1', timestampS, body, keys: [] })).toThrow(TypeError)
  })

  test('signs the bytes as they are, even where they are not UTF-8', () => {
    const bytes = Buffer.from([0xff, 0xfe, 0x00])
    expect(sign({ id: 'msg_1', timestampS, body: bytes, keys })).not.toBe(
      sign({ id: 'msg_1', timestampS, body: bytes.toString(), keys }),
    )
  })
})

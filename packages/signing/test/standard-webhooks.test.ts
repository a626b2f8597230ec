import fc from 'fast-check'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { createSigningKey, generateSecret, parseSecret, sign, signedHeaders, verify } from '../src/index.ts'

const secretOf = (bytes: Uint8Array) => `whsec_${Buffer.from(bytes).toString('base64')}`
const secrets = fc.uint8Array({ minLength: 1, maxLength: 80 }).map(secretOf)
const ids = fc.stringMatching(/^msg_[0-9a-z]{1,40}$/)
const bodies = fc.oneof(
  fc.json(),
  fc.json({ stringUnit: 'binary' }),
  fc.string({ unit: 'binary', maxLength: 2000 }).map((text) => JSON.stringify({ text })),
)
const timestamps = fc.integer({ min: 0, max: 4_102_444_800 })

describe('agreement with the standardwebhooks package', () => {
  test('both make the same signature for every secret, id, time and body', () => {
    fc.assert(
      fc.property(secrets, ids, timestamps, bodies, (secret, id, timestampS, body) => {
        const keys = [createSigningKey(parseSecret(secret))]
        const theirs = new Webhook(secret).sign(id, new Date(timestampS * 1000), body)
        expect(sign({ id, timestampS, body, keys })).toBe(theirs)
        expect(sign({ id, timestampS, body: Buffer.from(body), keys })).toBe(theirs)
      }),
    )
  })

  test('what they sign, verify() accepts and parses to the same payload', () => {
    fc.assert(
      fc.property(secrets, ids, timestamps, bodies, (secret, id, timestampS, body) => {
        const now = new Date(timestampS * 1000)
        const headers = {
          'webhook-id': id,
          'webhook-timestamp': String(timestampS),
          'webhook-signature': new Webhook(secret).sign(id, now, body),
        }
        expect(verify(body, headers, secret, { now })).toEqual(JSON.parse(body))
        expect(verify(Buffer.from(body), headers, secret, { now })).toEqual(JSON.parse(body))
      }),
    )
  })

  test('what signedHeaders() signs, they accept and parse to the same payload', () => {
    fc.assert(
      fc.property(secrets, ids, bodies, (secret, id, body) => {
        const timestampS = Math.floor(Date.now() / 1000)
        const headers = signedHeaders({ id, timestampS, body, keys: [createSigningKey(parseSecret(secret))] })
        expect(new Webhook(secret).verify(body, { ...headers })).toEqual(JSON.parse(body))
        expect(new Webhook(secret).verify(Buffer.from(body), { ...headers })).toEqual(JSON.parse(body))
      }),
    )
  })

  test('they accept either secret of a signature made with two keys', () => {
    const [oldSecret, newSecret] = [generateSecret(), generateSecret()]
    const keys = [oldSecret, newSecret].map((secret) => createSigningKey(parseSecret(secret)))
    const timestampS = Math.floor(Date.now() / 1000)
    const headers = signedHeaders({ id: 'msg_1', timestampS, body: '{"a":1}', keys })
    for (const secret of [oldSecret, newSecret]) {
      expect(new Webhook(secret).verify('{"a":1}', { ...headers })).toEqual({ a: 1 })
      expect(verify('{"a":1}', { ...headers }, secret)).toEqual({ a: 1 })
    }
  })

  test('the published example of Standard Webhooks 1.0.0 gives its published signature', () => {
    const keys = [createSigningKey(parseSecret('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'))]
    expect(
      sign({
        id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
        timestampS: 1614265330,
        body: '{"test": 2432232314}',
        keys,
      }),
    ).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=')
  })
})

import { describe, expect, test } from 'vitest'
import { createSigningKey, generateSecret, InvalidSecretError, parseSecret } from '../src/index.ts'

describe('generateSecret', () => {
  test('gives whsec_ and the base64 of 32 bytes, another each time', () => {
    const secret = generateSecret()
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    expect(parseSecret(secret)).toHaveLength(32)
    expect(generateSecret()).not.toBe(secret)
  })
})

describe('parseSecret', () => {
  test('reads a secret with and without its prefix, padded or not', () => {
    const bytes = Buffer.from('a secret of some length')
    const encoded = bytes.toString('base64')
    expect(parseSecret(`whsec_${encoded}`)).toEqual(bytes)
    expect(parseSecret(encoded)).toEqual(bytes)
    expect(parseSecret(encoded.replace(/=+$/, ''))).toEqual(bytes)
  })

  test.each([
    ['empty', ''],
    ['only the prefix', 'whsec_'],
    ['a trailing newline', `${generateSecret()}\n`],
    ['a space', 'whsec_AAAA BBBB'],
    ['base64url', 'whsec_AA-_'],
    ['an impossible length', 'whsec_AAAAA'],
    ['only padding', 'whsec_=='],
    ['not a string', 42 as unknown as string],
  ])('refuses %s with invalid_secret and does not echo it', (_, secret) => {
    const error = catchError(() => parseSecret(secret))
    expect(error).toBeInstanceOf(InvalidSecretError)
    expect(error).toMatchObject({ code: 'invalid_secret', name: 'InvalidSecretError' })
    if (String(secret).length > 6) expect(String(error)).not.toContain(String(secret).slice(6).trim())
  })
})

describe('createSigningKey', () => {
  test('refuses an empty key', () => {
    expect(() => createSigningKey(Buffer.alloc(0))).toThrow(InvalidSecretError)
  })

  test('does not show the key when printed or serialised', () => {
    const key = createSigningKey(Buffer.from('top secret key'))
    expect(JSON.stringify({ key })).not.toContain('secret key')
  })
})

function catchError(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  throw new Error('expected an error')
}

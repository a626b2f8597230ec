import { createVault, masterKeyId, UnreadableSecretsError } from '@posthorn/store'
import { expect, test } from 'vitest'
import type { Place } from '../src/vault.ts'

const OWNER = '0197a000-0000-7000-8000-000000000001'
const OTHER_OWNER = '0197a000-0000-7000-8000-000000000002'
const ENDPOINT = '0197a000-0000-7000-8000-00000000000a'
const OTHER_ENDPOINT = '0197a000-0000-7000-8000-00000000000b'
const FIRST = Buffer.alloc(32, 1)
const SECOND = Buffer.alloc(32, 2)
const place: Place = { endpointId: ENDPOINT, kind: 'signing secret', name: 'a' }
const secret = Buffer.from('canary-of-the-vault')

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(UnreadableSecretsError)
    expect((error as Error).message).not.toContain('canary')
    return (error as UnreadableSecretsError).code
  }
}

test('what is sealed is opened in its place, and shows nothing of itself', () => {
  const vault = createVault([FIRST])
  const wrapped = vault.makeKey(OWNER)
  const sealed = vault.unwrap(OWNER, wrapped).seal(place, secret)
  expect(sealed.includes('canary')).toBe(false)
  // Another process, with the same master key.
  expect(createVault([FIRST]).unwrap(OWNER, wrapped).open(place, sealed)).toEqual(secret)
  expect(vault.unwrap(OWNER, wrapped).seal(place, secret)).not.toEqual(sealed)
})

test.each<[string, Place]>([
  ['another endpoint', { ...place, endpointId: OTHER_ENDPOINT }],
  ['another row', { ...place, name: 'b' }],
  ['a header', { ...place, kind: 'header' }],
])('what was sealed for its place is not opened in the place of %s', (_, other) => {
  const vault = createVault([FIRST])
  const key = vault.unwrap(OWNER, vault.makeKey(OWNER))
  const sealed = key.seal(place, secret)
  expect(codeOf(() => key.open(other, sealed))).toBe('sealed_value_broken')
})

test("an owner's key is no key of another owner's, and neither is what it sealed", () => {
  const vault = createVault([FIRST])
  const wrapped = vault.makeKey(OWNER)
  const other = vault.makeKey(OTHER_OWNER)
  const sealed = vault.unwrap(OWNER, wrapped).seal(place, secret)
  expect(codeOf(() => vault.unwrap(OTHER_OWNER, other).open(place, sealed))).toBe('sealed_value_broken')
  expect(codeOf(() => vault.unwrap(OTHER_OWNER, wrapped))).toBe('sealed_value_broken')
})

test('a byte that was changed anywhere is noticed', () => {
  const vault = createVault([FIRST])
  const wrapped = vault.makeKey(OWNER)
  const key = vault.unwrap(OWNER, wrapped)
  const sealed = key.seal(place, secret)
  for (const [bytes, open] of [
    [sealed, (changed: Buffer) => key.open(place, changed)],
    [
      Buffer.from(wrapped.wrapped),
      (changed: Buffer) => createVault([FIRST]).unwrap(OWNER, { ...wrapped, wrapped: changed }),
    ],
  ] as const) {
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at]! ^= 1
      expect(
        codeOf(() => open(changed)),
        `byte ${at}`,
      ).toBe('sealed_value_broken')
    }
    for (const length of [0, 1, 12, 28, bytes.length - 1]) {
      expect(codeOf(() => open(bytes.subarray(0, length)))).toBe('sealed_value_broken')
    }
  }
})

test('the first master key wraps and all unwrap; one that is missing is named by its id', () => {
  const wrapped = createVault([FIRST]).makeKey(OWNER)
  expect(wrapped.masterKeyId).toBe(masterKeyId(FIRST))
  const sealed = createVault([FIRST]).unwrap(OWNER, wrapped).seal(place, secret)

  const both = createVault([SECOND, FIRST])
  expect(both.makeKey(OTHER_OWNER).masterKeyId).toBe(masterKeyId(SECOND))
  const again = both.rewrap(OWNER, wrapped)
  expect(again.masterKeyId).toBe(masterKeyId(SECOND))
  expect(createVault([SECOND]).unwrap(OWNER, again).open(place, sealed)).toEqual(secret)

  expect(codeOf(() => createVault([SECOND]).unwrap(OWNER, wrapped))).toBe('master_key_missing')
  expect(() => createVault([SECOND]).unwrap(OWNER, wrapped)).toThrow(masterKeyId(FIRST))
  expect(
    codeOf(() => createVault([SECOND]).unwrap(OWNER, { ...wrapped, masterKeyId: masterKeyId(SECOND) })),
  ).toBe('sealed_value_broken')
})

test('an id tells nothing of its master key, and a master key has 32 bytes', () => {
  expect(masterKeyId(FIRST)).toMatch(/^[0-9a-f]{16}$/)
  expect(masterKeyId(FIRST)).not.toBe(masterKeyId(SECOND))
  expect(() => createVault([])).toThrow(TypeError)
  expect(() => createVault([Buffer.alloc(16)])).toThrow(TypeError)
})

test('the key of a transaction that was rolled back is not kept in the place of the one that came after', () => {
  const vault = createVault([FIRST])
  vault.unwrap(OWNER, vault.makeKey(OWNER))
  const stored = vault.makeKey(OWNER)
  const sealed = vault.unwrap(OWNER, stored).seal(place, secret)
  expect(createVault([FIRST]).unwrap(OWNER, stored).open(place, sealed)).toEqual(secret)
})

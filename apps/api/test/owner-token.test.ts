import { randomBytes } from 'node:crypto'
import { newUuid } from '@posthorn/contracts'
import { expect, it } from 'vitest'
import { ownerTokenKey, readOwnerToken, signOwnerToken } from '../src/owner-token.ts'

const shared = randomBytes(32)
const key = ownerTokenKey(shared, 'root-key-of-the-tests')
const claims = { id: newUuid(), ownerId: newUuid(), expiresAtS: 1_900_000_000 }

it('a token says what it was made with', () => {
  const token = signOwnerToken(key, claims)
  expect(token).toMatch(/^pht_[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}$/)
  expect(token.length).toBeLessThan(512)
  expect(readOwnerToken(key, token)).toEqual(claims)
})

it('a token with any one character changed, added or taken away is none', () => {
  const token = signOwnerToken(key, claims)
  for (let at = 0; at < token.length; at++) {
    const other = token[at] === 'A' ? 'B' : 'A'
    expect(readOwnerToken(key, token.slice(0, at) + other + token.slice(at + 1))).toBeUndefined()
    expect(readOwnerToken(key, token.slice(0, at) + token.slice(at + 1))).toBeUndefined()
    expect(readOwnerToken(key, `${token.slice(0, at)}.${token.slice(at)}`)).toBeUndefined()
  }
  for (const text of ['', 'pht_', 'pht_.', `${token}=`, `${token}.`, ` ${token}`, token.split('.')[0]!]) {
    expect(readOwnerToken(key, text)).toBeUndefined()
  }
})

it('another root key, none, or other random bytes end all tokens', () => {
  const token = signOwnerToken(key, claims)
  for (const other of [
    ownerTokenKey(shared, 'another-root-key'),
    ownerTokenKey(shared, undefined),
    ownerTokenKey(randomBytes(32), 'root-key-of-the-tests'),
  ]) {
    expect(readOwnerToken(other, token)).toBeUndefined()
  }
})

it('without a root key the random bytes alone make the key', () => {
  expect(ownerTokenKey(shared, undefined)).toEqual(ownerTokenKey(shared, undefined))
  expect(ownerTokenKey(shared, undefined)).not.toEqual(shared)
})

import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { decodeId, encodeId } from '@posthorn/contracts'

const PREFIX = 'pht_'
const MAC_BYTES = 32

/** What an owner token says. */
export interface OwnerTokenClaims {
  /** UUID. */
  id: string
  /** UUID of the owner whose things it is for. */
  ownerId: string
  expiresAtS: number
}

/**
 * The key that owner tokens are signed with, HMAC-SHA256's.
 *
 * Made of two parts, so that none is enough to forge a token: random bytes from the database, and the root key,
 * which is not in the database. The random bytes are also what keeps a token, which is handed to strangers, from
 * telling whether a guess at the root key is right.
 */
export function ownerTokenKey(shared: Buffer, rootKey: string | undefined): Buffer {
  const material = Buffer.concat([shared, Buffer.from(rootKey ?? '', 'utf8')])
  return Buffer.from(hkdfSync('sha256', material, '', 'posthorn owner token 1', MAC_BYTES))
}

/** `pht_`, the claims as JSON in base64url, a full stop, their MAC in base64url. */
export function signOwnerToken(key: Buffer, { id, ownerId, expiresAtS }: OwnerTokenClaims): string {
  const claims = { id: encodeId('tok', id), owner: encodeId('own', ownerId), exp: expiresAtS }
  const signed = PREFIX + Buffer.from(JSON.stringify(claims)).toString('base64url')
  return `${signed}.${mac(key, signed).toString('base64url')}`
}

export function looksLikeOwnerToken(text: string): boolean {
  return text.startsWith(PREFIX)
}

/** What the token says; undefined where it was not signed with this key as it stands here. Its time is not judged. */
export function readOwnerToken(key: Buffer, text: string): OwnerTokenClaims | undefined {
  const [signed = '', macText = '', ...rest] = text.split('.')
  const given = Buffer.from(macText, 'base64url')
  if (rest.length > 0 || !looksLikeOwnerToken(signed) || given.length !== MAC_BYTES) return undefined
  // base64url is read leniently: there is one right way to write each MAC.
  if (given.toString('base64url') !== macText) return undefined
  if (!timingSafeEqual(given, mac(key, signed))) return undefined
  // Ours, since the MAC fits.
  const claims = JSON.parse(Buffer.from(signed.slice(PREFIX.length), 'base64url').toString('utf8')) as {
    id: string
    owner: string
    exp: number
  }
  return { id: decodeId('tok', claims.id)!, ownerId: decodeId('own', claims.owner)!, expiresAtS: claims.exp }
}

function mac(key: Buffer, signed: string): Buffer {
  return createHmac('sha256', key).update(signed).digest()
}

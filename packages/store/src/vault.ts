import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto'

/**
 * Encrypts what has to be kept secret at rest. Each owner has a key of its own; it is kept in the database,
 * encrypted ("wrapped") under a master key, which is not.
 */
export interface Vault {
  /** Of the master keys, the one that wraps first. */
  readonly masterKeyIds: readonly string[]
  /** A new key for an owner. */
  makeKey(ownerId: string): WrappedKey
  /** @throws {UnreadableSecretsError} */
  unwrap(ownerId: string, wrapped: WrappedKey): OwnerKey
  /**
   * The same key under the first master key.
   *
   * @throws {UnreadableSecretsError}
   */
  rewrap(ownerId: string, wrapped: WrappedKey): WrappedKey
}

/** An owner's key as it is stored. */
export interface WrappedKey {
  masterKeyId: string
  wrapped: Uint8Array
}

/** An owner's key in use. */
export interface OwnerKey {
  seal(place: Place, plain: Uint8Array): Buffer
  /** @throws {UnreadableSecretsError} where it was sealed for another place, or changed since */
  open(place: Place, sealed: Uint8Array): Buffer
}

/** Where a sealed value belongs: it is authenticated with it, so that nowhere else it can be opened. */
export interface Place {
  endpointId: string
  kind: 'signing secret' | 'header' | 'key of a certificate'
  /** Which of the endpoint's: the id of the secret's row, the name of the header. */
  name: string
}

/** The message says why, holds no secret, and is for operators. */
export class UnreadableSecretsError extends Error {
  override readonly name = 'UnreadableSecretsError'
  readonly code: 'master_key_missing' | 'sealed_value_broken' | 'no_secret'

  constructor(code: UnreadableSecretsError['code'], message: string) {
    super(message)
    this.code = code
  }
}

// Of the stored form: this byte, 12 bytes of nonce, 16 bytes of tag, and the encrypted bytes.
const VERSION = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const CIPHER = 'aes-256-gcm'

/** Unwrapped keys that are kept, as key objects: a delivery never waits for more than its own decryption. */
const KEPT_MAX = 10_000

/** @param masterKeys 32 bytes each: the first wraps, all unwrap */
export function createVault(masterKeys: readonly Uint8Array[]): Vault {
  if (masterKeys.length === 0) throw new TypeError('createVault() needs at least one master key.')
  const byId = new Map<string, KeyObject>()
  for (const key of masterKeys) {
    if (key.byteLength !== KEY_BYTES) throw new TypeError('A master key has 32 bytes.')
    byId.set(masterKeyId(key), createSecretKey(key))
  }
  const masterKeyIds = [...byId.keys()]
  const kept = new Map<string, { wrapped: Buffer; key: OwnerKey }>()

  function wrap(ownerId: string, key: Uint8Array): WrappedKey {
    const id = masterKeyIds[0]!
    return { masterKeyId: id, wrapped: encrypt(byId.get(id)!, wrappingData(ownerId, id), key) }
  }

  function unwrapBytes(ownerId: string, { masterKeyId: id, wrapped }: WrappedKey): Buffer {
    const masterKey = byId.get(id)
    if (masterKey === undefined) {
      throw new UnreadableSecretsError(
        'master_key_missing',
        `The owner's key is encrypted under the master key ${id}, which POSTHORN_MASTER_KEY does not have.`,
      )
    }
    return decrypt(masterKey, wrappingData(ownerId, id), wrapped)
  }

  return {
    masterKeyIds,
    makeKey: (ownerId) => wrap(ownerId, randomBytes(KEY_BYTES)),
    unwrap(ownerId, wrapped) {
      // By its bytes: the key of a transaction that was rolled back is not the owner's.
      const found = kept.get(ownerId)
      if (found?.wrapped.equals(wrapped.wrapped)) return found.key
      const key = ownerKey(ownerId, createSecretKey(unwrapBytes(ownerId, wrapped)))
      if (kept.size >= KEPT_MAX) kept.delete(kept.keys().next().value!)
      kept.set(ownerId, { wrapped: Buffer.from(wrapped.wrapped), key })
      return key
    },
    rewrap: (ownerId, wrapped) => wrap(ownerId, unwrapBytes(ownerId, wrapped)),
  }
}

/** Tells master keys apart without telling anything of them: 8 bytes of a SHA-256, in hex. */
export function masterKeyId(masterKey: Uint8Array): string {
  return createHash('sha256').update('posthorn master key\0').update(masterKey).digest('hex').slice(0, 16)
}

function ownerKey(ownerId: string, key: KeyObject): OwnerKey {
  const data = ({ endpointId, kind, name }: Place) =>
    associatedData(kind, ownerId.toLowerCase(), endpointId.toLowerCase(), name)
  return {
    seal: (place, plain) => encrypt(key, data(place), plain),
    open: (place, sealed) => decrypt(key, data(place), sealed),
  }
}

function wrappingData(ownerId: string, id: string): Buffer {
  return associatedData('owner key', ownerId.toLowerCase(), id)
}

/** As JSON: no two lists of parts have the same text. */
function associatedData(...parts: string[]): Buffer {
  return Buffer.from(JSON.stringify(['posthorn', VERSION, ...parts]))
}

function encrypt(key: KeyObject, data: Buffer, plain: Uint8Array): Buffer {
  // Random nonces are safe for 2^32 messages under one key (NIST SP 800-38D, 8.3): an owner has a few secrets.
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(data)
  const encrypted = [cipher.update(plain), cipher.final()]
  return Buffer.concat([Buffer.of(VERSION), nonce, cipher.getAuthTag(), ...encrypted])
}

function decrypt(key: KeyObject, data: Buffer, sealed: Uint8Array): Buffer {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength)
  const tagAt = 1 + NONCE_BYTES
  const textAt = tagAt + TAG_BYTES
  try {
    if (bytes[0] !== VERSION || bytes.length < textAt) throw new TypeError('not of this form')
    const decipher = createDecipheriv(CIPHER, key, bytes.subarray(1, tagAt), { authTagLength: TAG_BYTES })
    decipher.setAAD(data).setAuthTag(bytes.subarray(tagAt, textAt))
    return Buffer.concat([decipher.update(bytes.subarray(textAt)), decipher.final()])
  } catch {
    throw new UnreadableSecretsError(
      'sealed_value_broken',
      'An encrypted value was changed, or belongs to another owner, endpoint or row.',
    )
  }
}

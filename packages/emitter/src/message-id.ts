import { randomFillSync } from 'node:crypto'

// Crockford's base32 in lower case, as the TypeID specification 0.3 has it.
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/** A new message id: the TypeID `msg_` with a UUIDv7, so ids sort by the millisecond they were made in. */
export function createMessageId(nowMs: number = Date.now()): string {
  return `msg_${encodeTypeIdSuffix(createUuidV7(nowMs))}`
}

/** The 16 bytes of a UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, version, 74 random bits. */
export function createUuidV7(nowMs: number): Uint8Array {
  const bytes = randomFillSync(new Uint8Array(16))
  const view = new DataView(bytes.buffer)
  view.setUint16(0, Math.floor(nowMs / 2 ** 32))
  view.setUint32(2, nowMs % 2 ** 32)
  bytes[6] = 0x70 | (bytes[6]! & 0x0f)
  bytes[8] = 0x80 | (bytes[8]! & 0x3f)
  return bytes
}

/** The suffix of a TypeID: 128 bits in 26 characters of five bits each, with two zero bits before them. */
export function encodeTypeIdSuffix(bytes: Uint8Array): string {
  let text = ''
  let pending = 0
  let pendingBits = 2
  for (const byte of bytes) {
    pending = (pending << 8) | byte
    pendingBits += 8
    while (pendingBits >= 5) {
      pendingBits -= 5
      text += ALPHABET[(pending >>> pendingBits) & 31]
    }
    pending &= (1 << pendingBits) - 1
  }
  return text
}

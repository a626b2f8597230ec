import { v7 } from 'uuid'

/** What a public id stands for: its TypeID prefix. */
export type IdPrefix = 'own' | 'ep' | 'msg' | 'dlv' | 'att' | 'key' | 'rpl'

/** Crockford's alphabet in lower case, as TypeID 0.3 asks. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const SUFFIX_LENGTH = 26
const HEX_DIGITS = '0123456789abcdef'
const VALUE_OF_CHARACTER = valuesOf(ALPHABET)
const VALUE_OF_HEX_DIGIT = valuesOf(HEX_DIGITS, HEX_DIGITS.toUpperCase())
const NO_VALUE = 0xff
const HYPHEN = 0x2d

/** By ASCII code. */
function valuesOf(...alphabets: string[]): Uint8Array {
  const values = new Uint8Array(128).fill(0xff)
  for (const alphabet of alphabets) {
    for (let value = 0; value < alphabet.length; value++) values[alphabet.charCodeAt(value)] = value
  }
  return values
}

/** Asking for 16 bytes costs as much as asking for some thousand. */
const randomBytes = new Uint8Array(4_096)
let randomBytesUsed = randomBytes.length

function nextRandomBytes(): Uint8Array {
  if (randomBytesUsed === randomBytes.length) {
    crypto.getRandomValues(randomBytes)
    randomBytesUsed = 0
  }
  randomBytesUsed += 16
  return randomBytes.subarray(randomBytesUsed - 16, randomBytesUsed)
}

/** A new UUIDv7 (RFC 9562): sorts by the time it was made. */
export function newUuid(): string {
  return v7({ rng: nextRandomBytes })
}

/**
 * A UUID as the public id of its kind: `msg_01jzq…`, prefix and 26 characters.
 * https://github.com/jetify-com/typeid/tree/main/spec
 */
export function encodeId(prefix: IdPrefix, uuid: string): string {
  let text = `${prefix}_`
  // 128 bits in groups of five, from the left; the first group has three (130 = 26 × 5).
  let bits = 2
  let value = 0
  for (let at = 0; at < uuid.length; at++) {
    const code = uuid.charCodeAt(at)
    if (code === HYPHEN) continue
    value = (value << 4) | VALUE_OF_HEX_DIGIT[code]!
    bits += 4
    if (bits < 5) continue
    bits -= 5
    text += ALPHABET[value >> bits]
    value &= (1 << bits) - 1
  }
  return text
}

/** The UUID of a public id of this kind, or undefined where the text is not one. */
export function decodeId(prefix: IdPrefix, text: string): string | undefined {
  const start = prefix.length + 1
  if (text.length !== start + SUFFIX_LENGTH || !text.startsWith(`${prefix}_`)) return undefined
  // 26 × 5 bits are two more than a UUID has.
  if (text.charCodeAt(start) > 0x37) return undefined
  let uuid = ''
  let bits = -2
  let value = 0
  for (let at = start; at < text.length; at++) {
    const digit = VALUE_OF_CHARACTER[text.charCodeAt(at)] ?? NO_VALUE
    if (digit === NO_VALUE) return undefined
    value = (value << 5) | digit
    bits += 5
    while (bits >= 4) {
      bits -= 4
      uuid += HEX_DIGITS[value >> bits]
      value &= (1 << bits) - 1
      if (uuid.length === 8 || uuid.length === 13 || uuid.length === 18 || uuid.length === 23) uuid += '-'
    }
  }
  return uuid
}

/**
 * The UUID of an attempt follows from that of its delivery and its number: of the same time, another one for
 * each number, and in their order.
 */
export function attemptUuid(deliveryUuid: string, number: number): string {
  const last = (Number.parseInt(deliveryUuid.slice(-8), 16) + number) % 2 ** 32
  return deliveryUuid.slice(0, -8) + last.toString(16).padStart(8, '0')
}

/** The Unix time in milliseconds in a UUIDv7, or undefined where the UUID is of another version. */
export function uuidTimeMs(uuid: string): number | undefined {
  if (uuid[14] !== '7') return undefined
  return Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)
}

/** The lowest id that a UUIDv7 of this millisecond can be: its first 48 bits are the Unix time (RFC 9562). */
export function lowestId(timeMs: number): string {
  const hex = Math.max(0, Math.trunc(timeMs)).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-0000-0000-000000000000`
}

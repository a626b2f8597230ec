import { v7 } from 'uuid'

/** What a public id stands for: its TypeID prefix. */
export type IdPrefix = 'own' | 'ep' | 'msg' | 'dlv' | 'att' | 'key' | 'rpl'

/** Crockford's alphabet in lower case, as TypeID 0.3 asks. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const VALUE_OF = new Map([...ALPHABET].map((character, value) => [character, BigInt(value)]))
const SUFFIX_LENGTH = 26
const HEX_PAIR_TO_BYTE = new Map(
  Array.from({ length: 256 }, (_, byte) => [byte.toString(16).padStart(2, '0'), byte]),
)

/** A new UUIDv7 (RFC 9562): sorts by the time it was made. */
export function newUuid(): string {
  return v7()
}

/**
 * A UUID as the public id of its kind: `msg_01jzq…`, prefix and 26 characters.
 * https://github.com/jetify-com/typeid/tree/main/spec
 */
export function encodeId(prefix: IdPrefix, uuid: string): string {
  const hex = uuid.replaceAll('-', '')
  let text = `${prefix}_`
  // 128 bits in groups of five, from the left; the first group has three (130 = 26 × 5).
  let bits = 0
  let value = 0
  for (let at = 0; at < 32; at += 2) {
    value = (value << 8) | HEX_PAIR_TO_BYTE.get(hex.slice(at, at + 2))!
    bits += at === 0 ? 10 : 8
    while (bits >= 5) {
      bits -= 5
      text += ALPHABET[(value >> bits) & 31]
    }
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
  let value = 0n
  for (let at = start; at < text.length; at++) {
    const digit = VALUE_OF.get(text[at]!)
    if (digit === undefined) return undefined
    value = (value << 5n) | digit
  }
  const hex = value.toString(16).padStart(32, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
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

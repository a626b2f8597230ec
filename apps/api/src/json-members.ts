/** Containers in containers: more than any event needs, and few enough for every parser behind a receiver. */
export const DEPTH_MAX = 64

/** Keys in a message, and in all of a batch: more than any event needs, and few enough to be read in passing. */
export const KEYS_MAX = 10_000
export const BATCH_KEYS_MAX = 100_000

/** The least that a key takes, `"":0,`: what is shorter has no more than this many of them. */
const KEY_BYTES_MIN = 5

/**
 * Are there more keys than this in what may be a JSON text? Looked at before it is parsed: an object of a million
 * keys is made of a few megabytes and costs seconds.
 */
export function hasMoreKeysThan(json: Buffer, keysMax: number): boolean {
  if (json.length <= keysMax * KEY_BYTES_MIN) return false
  let keys = 0
  for (let at = 0; at < json.length; at++) {
    const byte = json[at]
    if (byte === QUOTE) {
      // A string that does not end goes on to the end; the parser says so.
      for (at += 1; at < json.length && json[at] !== QUOTE; at++) if (json[at] === BACKSLASH) at += 1
    } else if (byte === COLON) {
      keys += 1
      if (keys > keysMax) return true
    }
  }
  return false
}

export type JsonFault =
  /** Objects and arrays are nested deeper than `DEPTH_MAX`. */
  | { kind: 'too-deep' }
  /** A key that would set a prototype in careless JavaScript. */
  | { kind: 'forbidden-key'; key: string }

export interface FoundData {
  /** Bytes of the member `data`, without insignificant white space; undefined where there is none. */
  data?: Buffer
  fault?: JsonFault
}

export interface JsonMembers extends FoundData {
  /** Of each element of the member `messages`. A fault inside of an element is only here. */
  messages?: FoundData[]
}

/**
 * Walks once over the bytes of a JSON text that `JSON.parse` has accepted, looks for what is refused
 * anywhere in it, and finds the bytes of what is passed on as it was given: numbers keep their digits,
 * strings their escapes, objects their duplicate keys. As with `JSON.parse`, the last of duplicate
 * members is the one that counts.
 *
 * @param wanted `data` of the text itself, or `data` of each element of `messages`
 */
export function jsonMembers(json: Buffer, wanted?: 'data' | 'messages[].data'): JsonMembers {
  // A message in a batch may be nested as deeply as one alone.
  const depthMax = wanted === 'messages[].data' ? DEPTH_MAX + 2 : DEPTH_MAX
  const scan: Scan = { json, at: 0, depth: 0, depthMax, spaced: false, fault: undefined }
  const members: JsonMembers = {}
  skipSpace(scan)
  if (wanted !== undefined && json[scan.at] === OPEN_BRACE) {
    eachMember(scan, (key) => {
      if (wanted === 'data' && key === 'data') members.data = takeValue(scan)
      else if (wanted === 'messages[].data' && key === 'messages') members.messages = takeMessages(scan)
      else skipValue(scan)
    })
  } else {
    skipValue(scan)
  }
  if (scan.fault !== undefined) members.fault = scan.fault
  return members
}

const SPACE = 0x20
const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

interface Scan {
  json: Buffer
  /** The next byte to read. */
  at: number
  /** Containers that are open there. */
  depth: number
  depthMax: number
  /** White space was seen outside of strings. */
  spaced: boolean
  fault: JsonFault | undefined
}

/** Calls back at the value of each member of the object that begins here; the callback moves past the value. */
function eachMember(scan: Scan, onValue: (key: string) => void): void {
  const { json } = scan
  openContainer(scan)
  skipSpace(scan)
  while (json[scan.at] !== CLOSE_BRACE) {
    const start = scan.at
    scan.at = endOfString(json, start)
    const key = readKey(json, start, scan.at)
    refuseKey(scan, key)
    skipSpace(scan)
    scan.at += 1 // the colon
    skipSpace(scan)
    onValue(key)
    skipSpace(scan)
    if (json[scan.at] === COMMA) scan.at += 1
    skipSpace(scan)
  }
  closeContainer(scan)
}

function eachElement(scan: Scan, onElement: () => void): void {
  const { json } = scan
  openContainer(scan)
  skipSpace(scan)
  while (json[scan.at] !== CLOSE_BRACKET) {
    onElement()
    skipSpace(scan)
    if (json[scan.at] === COMMA) scan.at += 1
    skipSpace(scan)
  }
  closeContainer(scan)
}

function takeMessages(scan: Scan): FoundData[] {
  const messages: FoundData[] = []
  if (scan.json[scan.at] !== OPEN_BRACKET) {
    skipValue(scan)
    return messages
  }
  eachElement(scan, () => {
    const outside = scan.fault
    scan.fault = undefined
    const message: FoundData = {}
    if (scan.json[scan.at] !== OPEN_BRACE) skipValue(scan)
    else {
      eachMember(scan, (key) => {
        if (key === 'data') message.data = takeValue(scan)
        else skipValue(scan)
      })
    }
    if (scan.fault !== undefined) message.fault = scan.fault
    scan.fault = outside
    messages.push(message)
  })
  return messages
}

function takeValue(scan: Scan): Buffer {
  const start = scan.at
  scan.spaced = false
  skipValue(scan)
  const value = scan.json.subarray(start, scan.at)
  return scan.spaced ? withoutSpace(value) : value
}

function skipValue(scan: Scan): void {
  const first = scan.json[scan.at]
  if (first === QUOTE) scan.at = endOfString(scan.json, scan.at)
  else if (first === OPEN_BRACE || first === OPEN_BRACKET) skipContainer(scan)
  else scan.at = endOfScalar(scan.json, scan.at)
}

/** Without recursion: it may be 4 MiB of brackets. */
function skipContainer(scan: Scan): void {
  const { json } = scan
  let at = scan.at
  let open = 0
  do {
    const byte = json[at]!
    if (byte === QUOTE) {
      const start = at
      at = endOfString(json, start)
      let after = at
      while (isSpace(json[after])) after += 1
      // A string that a colon follows is a key.
      if (json[after] === COLON) {
        if (mayBeForbidden(json, start, at)) refuseKey(scan, readKey(json, start, at))
        if (after > at) scan.spaced = true
        at = after + 1
      }
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      open += 1
      if (scan.depth + open > scan.depthMax) scan.fault ??= { kind: 'too-deep' }
      at += 1
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      open -= 1
      at += 1
    } else {
      if (isSpace(byte)) scan.spaced = true
      at += 1
    }
  } while (open > 0)
  scan.at = at
}

function openContainer(scan: Scan): void {
  scan.at += 1
  scan.depth += 1
}

function closeContainer(scan: Scan): void {
  scan.at += 1
  scan.depth -= 1
}

function skipSpace(scan: Scan): void {
  while (isSpace(scan.json[scan.at])) scan.at += 1
}

/** Space, tab, line feed, carriage return: what RFC 8259 calls insignificant. No other byte of it is below 0x21. */
function isSpace(byte: number | undefined): boolean {
  return byte !== undefined && byte <= SPACE
}

/** The place after the string that begins at `start`. */
function endOfString(json: Buffer, start: number): number {
  let at = start + 1
  for (let byte = json[at]; byte !== QUOTE; byte = json[at]) at += byte === BACKSLASH ? 2 : 1
  return at + 1
}

function endOfScalar(json: Buffer, start: number): number {
  let at = start
  for (let byte = json[at]; byte !== undefined; byte = json[at]) {
    if (byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte <= SPACE) break
    at += 1
  }
  return at
}

/** The key between these quotes. Bytes beyond ASCII come out wrong, which no name that is looked for has. */
function readKey(json: Buffer, start: number, end: number): string {
  const text = json.toString('latin1', start, end)
  return text.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1)
}

const FORBIDDEN_KEY = '__proto__'
const UNDERSCORE = 0x5f

/** Quick: only a key of this length, or one with escapes, is worth reading. */
function mayBeForbidden(json: Buffer, start: number, end: number): boolean {
  const length = end - start - 2
  if (length < FORBIDDEN_KEY.length) return false
  if (length === FORBIDDEN_KEY.length) return json[start + 1] === UNDERSCORE || json[start + 1] === BACKSLASH
  // 9 characters, each written as one to six bytes.
  if (length > FORBIDDEN_KEY.length * 6) return false
  for (let at = start + 1; at < end; at += 1) if (json[at] === BACKSLASH) return true
  return false
}

function refuseKey(scan: Scan, key: string): void {
  if (key === FORBIDDEN_KEY) scan.fault ??= { kind: 'forbidden-key', key }
}

function withoutSpace(json: Buffer): Buffer {
  const kept = Buffer.allocUnsafe(json.length)
  let length = 0
  let at = 0
  while (at < json.length) {
    const byte = json[at]!
    if (byte === QUOTE) {
      const end = endOfString(json, at)
      json.copy(kept, length, at, end)
      length += end - at
      at = end
    } else {
      if (byte > SPACE) kept[length++] = byte
      at += 1
    }
  }
  return kept.subarray(0, length)
}

import { describe, expect, test } from 'vitest'
import { createMessageId, createUuidV7, encodeTypeIdSuffix } from '../src/message-id.ts'

const bytesOf = (uuid: string) => new Uint8Array(Buffer.from(uuid.replaceAll('-', ''), 'hex'))

describe('encodeTypeIdSuffix', () => {
  // Vectors of the TypeID specification (valid.yml).
  test.each([
    ['00000000-0000-0000-0000-000000000000', '00000000000000000000000000'],
    ['00000000-0000-0000-0000-000000000001', '00000000000000000000000001'],
    ['00000000-0000-0000-0000-00000000000a', '0000000000000000000000000a'],
    ['00000000-0000-0000-0000-000000000010', '0000000000000000000000000g'],
    ['00000000-0000-0000-0000-000000000020', '00000000000000000000000010'],
    ['ffffffff-ffff-ffff-ffff-ffffffffffff', '7zzzzzzzzzzzzzzzzzzzzzzzzz'],
    ['0110c853-1d09-52d8-d73e-1194e95b5f19', '0123456789abcdefghjkmnpqrs'],
    ['01890a5d-ac96-774b-bcce-b302099a8057', '01h455vb4pex5vsknk084sn02q'],
  ])('%s is %s', (uuid, suffix) => {
    expect(encodeTypeIdSuffix(bytesOf(uuid))).toBe(suffix)
  })
})

describe('createUuidV7', () => {
  test('has the milliseconds, version 7 and the RFC 9562 variant', () => {
    for (const nowMs of [0, 1, 2 ** 32 - 1, 2 ** 32, Date.UTC(2026, 0, 1), 2 ** 48 - 1]) {
      const hex = Buffer.from(createUuidV7(nowMs)).toString('hex')
      expect(Number.parseInt(hex.slice(0, 12), 16)).toBe(nowMs)
      expect(hex[12]).toBe('7')
      expect(hex[16]).toMatch(/[89ab]/)
    }
  })

  test('does not repeat within a millisecond', () => {
    const ids = Array.from({ length: 10_000 }, () => createMessageId(0))
    expect(new Set(ids).size).toBe(10_000)
  })
})

describe('createMessageId', () => {
  test('sorts by the time it was made', () => {
    const ids = [1, 1000, 1_760_000_000_000, 1_760_000_000_001].map((nowMs) => createMessageId(nowMs))
    expect([...ids].sort()).toEqual(ids)
    expect(ids[0]).toMatch(/^msg_[0-9a-z]{26}$/)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DEPTH_MAX, hasMoreKeysThan, jsonMembers } from '../src/json-members.ts'

const dataOf = (json: string) => jsonMembers(Buffer.from(json), 'data').data?.toString()
const messagesOf = (json: string) =>
  jsonMembers(Buffer.from(json), 'messages[].data').messages?.map(({ data }) => data?.toString())

/** Any JSON value whose keys are allowed. Numbers are finite, as JSON has no others. */
const anyJson = fc.jsonValue({ maxDepth: 6 }).filter((value) => !JSON.stringify(value).includes('__proto__'))
const spaces = fc.string({ unit: fc.constantFrom(' ', '\t', '\n', '\r'), maxLength: 3 })

/** A JSON text of this value with white space wherever it may stand, as `pad` gives it. */
function spaced(value: unknown, pad: () => string): string {
  const inner = (): string => {
    if (Array.isArray(value)) return `[${pad()}${value.map((item) => spaced(item, pad)).join(',')}]`
    if (typeof value === 'object' && value !== null) {
      const members = Object.entries(value).map(
        ([key, item]) => `${pad()}${JSON.stringify(key)}${pad()}:${spaced(item, pad)}`,
      )
      return `{${members.join(',')}${pad()}}`
    }
    return JSON.stringify(value)
  }
  return `${pad()}${inner()}${pad()}`
}

describe('too many keys', () => {
  const keysOf = (value: unknown): number => {
    if (typeof value !== 'object' || value === null) return 0
    const inner = Object.values(value).reduce((sum: number, item) => sum + keysOf(item), 0)
    return inner + (Array.isArray(value) ? 0 : Object.keys(value).length)
  }

  it('are found in any JSON text, and in no other', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.nat(20), (value, keysMax) => {
        const json = Buffer.from(JSON.stringify(value))
        expect(hasMoreKeysThan(json, keysMax)).toBe(keysOf(value) > keysMax)
      }),
    )
  })

  it('are looked for in what is no JSON without harm', () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void hasMoreKeysThan(Buffer.from(bytes), 0)))
    expect(hasMoreKeysThan(Buffer.from('"::::::::'), 0)).toBe(false)
    expect(hasMoreKeysThan(Buffer.from('::::::::"\\'), 1)).toBe(true)
  })
})

describe('the bytes of data', () => {
  it('are those of JSON.stringify, for any value with any white space around and in it', () => {
    fc.assert(
      fc.property(anyJson, anyJson, fc.gen(), (data, other, gen) => {
        const pad = () => gen(() => spaces)
        const json = spaced({ a: other, data, b: [other], c: { data: other } }, pad)
        expect(dataOf(json)).toBe(JSON.stringify(data))
      }),
    )
  })

  it('are found for each message, whatever else stands there', () => {
    const message = fc.oneof(
      anyJson.map((data) => ({ owner: 'o', data, more: [data] })),
      fc.constant({ owner: 'o' }),
      fc.constantFrom(1, null, 'x', [], [[{ data: 1 }]], {}),
    )
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), anyJson, fc.gen(), (messages, other, gen) => {
        const json = spaced({ first: other, messages, last: other }, () => gen(() => spaces))
        expect(messagesOf(json)).toEqual(
          messages.map((item) =>
            typeof item === 'object' && item !== null && 'data' in item
              ? JSON.stringify(item.data)
              : undefined,
          ),
        )
      }),
    )
  })

  it('are the bytes of the last member of that name, as JSON.parse has it', () => {
    const key = fc.constantFrom(
      '"data"',
      '"d\\u0061ta"',
      '"\\u0064\\u0061\\u0074\\u0061"',
      '"Data"',
      '"dat"',
      '"date"',
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(key, anyJson), { maxLength: 6 }), (members) => {
        const json = `{${members.map(([name, value]) => `${name}:${JSON.stringify(value)}`).join(',')}}`
        const parsed = (JSON.parse(json) as { data?: unknown }).data
        expect(dataOf(json)).toBe(parsed === undefined ? undefined : JSON.stringify(parsed))
      }),
    )
  })

  it.each([
    ['{"data":12345678901234567890}', '12345678901234567890'],
    ['{"data": 1e400 }', '1e400'],
    ['{"data":-0.0}', '-0.0'],
    ['{"data":{"a":1, "a":2}}', '{"a":1,"a":2}'],
    ['{"data":"\\u00e9 \\/ \\"} ] "}', '"\\u00e9 \\/ \\"} ] "'],
    ['{"data":{"a" :1}}', '{"a":1}'],
    ['{"data":"\\\\"}', '"\\\\"'],
    ['{"data":[true , false,null]}', '[true,false,null]'],
    ['{"data":"ü  €  😀"}', '"ü  €  😀"'],
  ])('keep every digit and escape: %s', (json, kept) => {
    expect(dataOf(json)).toBe(kept)
  })

  it('are not looked for in a text that is no object', () => {
    for (const json of ['[]', '1', '"data"', 'null', ' true ', '[{"data":1}]', '{}']) {
      expect(jsonMembers(Buffer.from(json), 'data')).toEqual({})
      expect(jsonMembers(Buffer.from(json), 'messages[].data')).toEqual({})
    }
    expect(messagesOf('{"messages":{"data":1}}')).toEqual([])
    expect(messagesOf('{"messages":[{"data":1}],"messages":[{"data":2},{}]}')).toEqual(['2', undefined])
  })
})

describe('faults', () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)

  it('a text may be nested as deeply as the limit and no deeper', () => {
    expect(jsonMembers(Buffer.from(nested(DEPTH_MAX))).fault).toBeUndefined()
    expect(jsonMembers(Buffer.from(nested(DEPTH_MAX + 1))).fault).toEqual({ kind: 'too-deep' })
    expect(jsonMembers(Buffer.from('{"a":'.repeat(65) + 1 + '}'.repeat(65))).fault).toEqual({
      kind: 'too-deep',
    })
  })

  it('data may be nested as deeply in a batch as alone', () => {
    const single = (depth: number) => jsonMembers(Buffer.from(`{"data":${nested(depth)}}`), 'data').fault
    const batched = (depth: number) =>
      jsonMembers(Buffer.from(`{"messages":[{"data":${nested(depth)}}]}`), 'messages[].data').messages![0]!
        .fault
    for (const fault of [single, batched]) {
      expect(fault(DEPTH_MAX - 1)).toBeUndefined()
      expect(fault(DEPTH_MAX)).toEqual({ kind: 'too-deep' })
    }
  })

  it('depth is measured without a stack to overflow', () => {
    expect(jsonMembers(Buffer.from(nested(2_000_000)), 'data').fault).toEqual({ kind: 'too-deep' })
  })

  it('finds __proto__ as a key at any depth, however it is written, and only as a key', () => {
    const written = fc
      .tuple(...[...'__proto__'].map((character) => fc.tuple(fc.constant(character), fc.boolean())))
      .map((parts) =>
        parts
          .map(([character, escaped]) =>
            escaped ? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}` : character,
          )
          .join(''),
      )
    fc.assert(
      fc.property(written, fc.nat(20), fc.boolean(), (key, depth, inArray) => {
        const object = `{"x":"__proto__","${key}" : 1}`
        const json = `{"data":${'{"a":'.repeat(depth)}${inArray ? `[${object}]` : object}${'}'.repeat(depth)}}`
        expect(jsonMembers(Buffer.from(json), 'data').fault).toEqual({
          kind: 'forbidden-key',
          key: '__proto__',
        })
        expect(jsonMembers(Buffer.from(object)).fault).toEqual({ kind: 'forbidden-key', key: '__proto__' })
      }),
    )
    for (const json of [
      '{"a":"__proto__"}',
      '["__proto__"]',
      '{"__proto":1}',
      '{"__proto___":1}',
      '{"a":"\\"__proto__\\":"}',
    ]) {
      expect(jsonMembers(Buffer.from(json), 'data').fault).toBeUndefined()
    }
  })

  it('a fault inside of one message is that message’s alone', () => {
    const { fault, messages } = jsonMembers(
      Buffer.from(`{"messages":[{"data":{"__proto__":1}},{"data":1},{"data":${nested(100)}}]}`),
      'messages[].data',
    )
    expect(fault).toBeUndefined()
    expect(messages?.map((message) => message.fault?.kind)).toEqual(['forbidden-key', undefined, 'too-deep'])
    expect(jsonMembers(Buffer.from('{"__proto__":1,"messages":[{}]}'), 'messages[].data').fault?.kind).toBe(
      'forbidden-key',
    )
  })
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { messagePayload, payloadData } from '../src/index.ts'

/** Full-stop-delimited groups of [a-zA-Z0-9_]. */
const anyEventType = fc.stringMatching(/^[a-zA-Z0-9_]{1,20}(\.[a-zA-Z0-9_]{1,20}){0,4}$/)
const anyTime = fc.date({
  min: new Date('0001-01-01T00:00:00Z'),
  max: new Date('9999-12-31T23:59:59.999Z'),
  noInvalidDate: true,
})

test('the body holds type, timestamp and data, in this order and without white space', () => {
  const body = messagePayload('pay_info.paid', new Date('2026-11-21T12:00:00.007Z'), Buffer.from('{"n":1}'))
  expect(body.toString()).toBe(
    '{"type":"pay_info.paid","timestamp":"2026-11-21T12:00:00.007Z","data":{"n":1}}',
  )
})

test('numbers keep every digit, and text its very bytes', () => {
  const data = Buffer.from('{"n":12345678901234567890.000000000000000001,"e":1E400,"t":"\\u00e9 é \\ud800"}')
  const body = messagePayload('a', new Date(0), data)
  expect(body.includes(data)).toBe(true)
  expect(payloadData(body, 'a').equals(data)).toBe(true)
})

test('the data of a payload are the bytes that went in', () => {
  fc.assert(
    fc.property(anyEventType, anyTime, fc.uint8Array({ maxLength: 500 }), (type, timestamp, bytes) => {
      const data = Buffer.from(bytes)
      expect(payloadData(messagePayload(type, timestamp, data), type).equals(data)).toBe(true)
    }),
  )
})

test('the body is the JSON that it says, whatever the data', () => {
  fc.assert(
    fc.property(anyEventType, anyTime, fc.jsonValue(), (type, timestamp, value) => {
      const body = messagePayload(type, timestamp, Buffer.from(JSON.stringify(value)))
      const parsed = JSON.parse(body.toString()) as Record<string, unknown>
      expect(Object.keys(parsed)).toEqual(['type', 'timestamp', 'data'])
      expect(parsed).toEqual({
        type,
        timestamp: timestamp.toISOString(),
        data: JSON.parse(JSON.stringify(value)),
      })
    }),
  )
})

import { expect, test } from 'vitest'
import { spread } from '../src/spread.ts'

test('a figure of several rounds is their median, with the least and the most', () => {
  expect(spread('p99Ms', [3.456, 9, 1.234], 2)).toEqual({ p99Ms: 3.46, p99MsMin: 1.23, p99MsMax: 9 })
  expect(spread('sockets', [7])).toEqual({ sockets: 7, socketsMin: 7, socketsMax: 7 })
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatDuration, parseDuration } from '../src/index.ts'

test.each([
  ['250ms', 250],
  ['5s', 5_000],
  ['5m', 300_000],
  ['2h', 7_200_000],
  ['1d', 86_400_000],
  ['1.5h', 5_400_000],
  ['0s', 0],
])('%s is %d ms', (text, durationMs) => {
  expect(parseDuration(text)).toBe(durationMs)
})

test.each(['', '5', 's', '-5s', '5 s', '5S', '5sec', '1h30m', 'Infinitys', '1e3s', '.5s', '999999999999d'])(
  '%j is not a duration',
  (text) => {
    expect(parseDuration(text)).toBeUndefined()
  },
)

test('what is formatted reads back as the same duration', () => {
  fc.assert(
    fc.property(fc.nat({ max: 400 * 86_400_000 }), (durationMs) => {
      expect(parseDuration(formatDuration(durationMs))).toBe(durationMs)
    }),
  )
  expect(formatDuration(300_000)).toBe('5m')
  expect(formatDuration(90_000)).toBe('90s')
})

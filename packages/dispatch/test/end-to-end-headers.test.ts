import { expect, test } from 'vitest'
import { endToEndHeaders } from '../src/end-to-end-headers.ts'

test('headers that speak of the answer stay, in order, each as often as it came', () => {
  const headers: [string, string][] = [
    ['date', 'Sun, 22 Nov 2026 12:00:00 GMT'],
    ['set-cookie', 'a=1'],
    ['set-cookie', 'b=2'],
    ['content-length', '2'],
    ['keep-alive-for', 'x'],
    ['retry-after', '120'],
  ]
  expect(endToEndHeaders(headers)).toEqual(headers)
})

test.each(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])(
  '%s speaks of the connection and is left out',
  (name) => {
    const kept: [string, string][] = [['server', 'a']]
    expect(endToEndHeaders([[name, 'x'], ...kept])).toEqual(kept)
  },
)

test('what connection names is left out too, wherever and however it is written', () => {
  expect(
    endToEndHeaders([
      ['x-hop', '1'],
      ['connection', 'close, X-Hop'],
      ['x-end', '2'],
      ['connection', ' x-other ,'],
      ['x-other', '3'],
    ]),
  ).toEqual([['x-end', '2']])
})

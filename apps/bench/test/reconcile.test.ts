import { expect, test } from 'vitest'
import { percentile } from '../src/percentile.ts'
import { type Accounts, reconcile } from '../src/reconcile.ts'

const whole: Accounts = {
  emitted: ['a', 'b', 'c'],
  arrived: new Set(['a', 'b', 'c']),
  deliveries: 6,
  doubled: 0,
  endpoints: 2,
  notDelivered: 0,
  refused: {},
}

test('a round in which everything came once to each endpoint has a figure', () => {
  expect(reconcile(whole)).toEqual([])
})

test.each<[string, Partial<Accounts>, RegExp]>([
  [
    'lost an event',
    { arrived: new Set(['a', 'b']), deliveries: 4 },
    /^1 events were taken and did not arrive/,
  ],
  ['lost a delivery of an event', { deliveries: 5 }, /^5 deliveries arrived, of 6/],
  ['doubled', { doubled: 1 }, /^1 deliveries arrived again/],
  [
    'got what nobody emitted',
    { arrived: new Set(['a', 'b', 'c', 'x']) },
    /^1 events arrived that nobody emitted/,
  ],
  ['left something pending', { notDelivered: 2 }, /^2 deliveries are not delivered in the log/],
  ['was refused', { refused: { 503: 4 } }, /^4 emits ended with 503/],
])('a round that %s has none, and says so', (_, change, said) => {
  const faults = reconcile({ ...whole, ...change })
  expect(faults).toHaveLength(1)
  expect(faults[0]).toMatch(said)
})

test('a percentile is the value that so many are not above', () => {
  const values = Array.from({ length: 100 }, (_, at) => 100 - at)
  expect([0.5, 0.99, 0.999, 1].map((share) => percentile(values, share))).toEqual([50, 99, 100, 100])
  expect(percentile([], 0.5)).toBeNaN()
})

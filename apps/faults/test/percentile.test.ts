import { expect, it } from 'vitest'
import { median, percentile } from '../src/scenarios/percentile.ts'

const oneTo = (last: number) => Array.from({ length: last }, (_, at) => at + 1)

it('a percentile is a value that was measured, the smallest that so many do not exceed', () => {
  expect(percentile(oneTo(100), 0.99)).toBe(99)
  expect(percentile(oneTo(101), 0.99)).toBe(100)
  expect(percentile(oneTo(10), 0.99)).toBe(10)
  expect(percentile(oneTo(10), 0)).toBe(1)
  expect(percentile([7], 0.5)).toBe(7)
})

it('values need no order, and keep theirs', () => {
  const values = [30, 4, 200]
  expect(percentile(values, 0.5)).toBe(30)
  expect(median(values)).toBe(30)
  expect(values).toEqual([30, 4, 200])
})

it('the median of an even number of values is between the two in the middle', () => {
  expect(median([1, 2, 4, 100])).toBe(3)
})

it('nothing measured is no number', () => {
  expect(percentile([], 0.99)).toBeNaN()
  expect(median([])).toBeNaN()
})

import { expect, it } from 'vitest'
import { type Flow, schedule } from '../src/scenarios/open-loop.ts'

const flow = (owner: string, perSecond: number): Flow => ({
  ...{ owner, perSecond, type: 'scenario.event', endpoints: [] },
})

it('each flow gets its rate, evenly spaced, in one order by time', () => {
  const planned = schedule([flow('fast', 100), flow('slow', 10)], 10_000, 1)
  const timesOf = (owner: string) => planned.filter((one) => one.flow.owner === owner).map(({ atMs }) => atMs)
  expect(timesOf('fast')).toHaveLength(1_000)
  expect(timesOf('slow')).toHaveLength(100)
  const slow = timesOf('slow')
  for (const [at, atMs] of slow.entries()) if (at > 0) expect(atMs - slow[at - 1]!).toBeCloseTo(100)
  expect(planned.map(({ atMs }) => atMs)).toEqual(planned.map(({ atMs }) => atMs).sort((a, b) => a - b))
  expect(Math.min(...slow)).toBeGreaterThanOrEqual(0)
  expect(Math.max(...slow)).toBeLessThan(10_000)
})

it('a seed gives the same schedule, another seed another', () => {
  const times = (seed: number) => schedule([flow('one', 7)], 1_000, seed).map(({ atMs }) => atMs)
  expect(times(1)).toEqual(times(1))
  expect(times(1)).not.toEqual(times(2))
})

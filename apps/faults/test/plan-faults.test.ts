import { seededRandom } from '@posthorn/testkit'
import { expect, it } from 'vitest'
import type { Fault } from '../src/fault.ts'
import { planFaults } from '../src/plan-faults.ts'

const faults: Fault[] = [
  { name: 'everywhere', inject: async () => {} },
  { name: 'elsewhere', inject: async () => {} },
  { name: 'on-redis', backend: 'redis', inject: async () => {} },
]

function planned(total: number, seed = 1) {
  const plan = planFaults(faults, ['postgres', 'redis'], total, seededRandom(seed))
  return [...plan].map(([backend, list]) => ({ backend, names: list.map(({ name }) => name) }))
}

const count = (plan: ReturnType<typeof planned>, name: string) =>
  plan.flatMap(({ names }) => names).filter((other) => other === name).length

it('a seed gives the same faults in the same order, another seed another order', () => {
  expect(planned(40)).toEqual(planned(40))
  expect(planned(40)).not.toEqual(planned(40, 2))
})

it('every class comes equally often, and both backends have a share of those that both can have', () => {
  const plan = planned(30)
  for (const { name } of faults) expect(count(plan, name)).toBe(10)
  for (const { names } of plan) {
    expect(names.filter((name) => name === 'everywhere').length).toBeGreaterThanOrEqual(4)
  }
})

it('a class of one backend is planned on that one only', () => {
  expect(planned(30)[0]).toMatchObject({ backend: 'postgres' })
  expect(planned(30)[0]!.names).not.toContain('on-redis')
})

it('a full run has at least 500 faults, and 25 of each class', () => {
  const plan = planned(500)
  expect(plan.flatMap(({ names }) => names).length).toBeGreaterThanOrEqual(500)
  const many = Array.from({ length: 23 }, (_, at): Fault => ({ name: `class-${at}`, inject: async () => {} }))
  const full = [...planFaults(many, ['postgres'], 500, seededRandom(1)).values()].flat()
  for (const { name } of many) {
    expect(full.filter((fault) => fault.name === name).length).toBeGreaterThanOrEqual(25)
  }
})

import type { Random } from '@posthorn/testkit'
import type { Fault } from './fault.ts'
import type { Backend } from './start-field.ts'

/** What a full run has to have of each class, both backends together. */
const FULL_RUN = 500
const OF_EACH_IN_FULL_RUN = 25

/**
 * Which faults each backend gets, in a seeded order: at least `total` in all, every class as often as the
 * others, in turn on the backends that it is for. From 500 on a run is a full one, with at least 25 of each.
 */
export function planFaults(
  faults: readonly Fault[],
  backends: readonly Backend[],
  total: number,
  random: Random,
): Map<Backend, Fault[]> {
  const plan = new Map<Backend, Fault[]>(backends.map((backend) => [backend, []]))
  const eligible = faults.filter(({ backend }) => backend === undefined || backends.includes(backend))
  let planned = 0
  for (let round = 0; planned < total || (total >= FULL_RUN && round < OF_EACH_IN_FULL_RUN); round++) {
    for (const fault of random.shuffle(eligible)) {
      if (planned >= total && total < FULL_RUN) break
      const takers = backends.filter((backend) => (fault.backend ?? backend) === backend)
      plan.get(takers[(round + eligible.indexOf(fault)) % takers.length]!)!.push(fault)
      planned += 1
    }
  }
  for (const [backend, list] of plan) plan.set(backend, random.shuffle(list))
  return plan
}

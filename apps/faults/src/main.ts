// Injects faults into the real processes (API, two workers, PostgreSQL, and Redis in that mode) under a seeded
// load through the SDK, and holds the ledgers of client, receiver and database against each other. Then plants
// bugs, one at a time, and looks whether the verdict finds them.
//
//   npx -y pnpm@12.21.0 faults [--quick] [--faults 500] [--backend postgres|redis] [--seed 1] [--rate 80]
//     [--only worker-stopped,redis-full] [--bugs all|none|no-fence,no-sweep]
//
// Ends non-zero when something was lost, when anything else that is promised did not hold, or when a planted
// bug was not caught. The last lines are JSON, one a backend.
//
//   npx -y pnpm@12.21.0 faults --scenario hanging|noisy-owner|overload|outage|all [--backend postgres|redis]
//     [--seed 1] [--seconds 10] [--turns 2]
//
// Measures one of the scenarios instead, one backend after the other, and ends non-zero when a mark is missed.
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { ownRedisAvailable, seededRandom } from '@posthorn/testkit'
import type { Fault } from './fault.ts'
import { allFaults } from './faults/all-faults.ts'
import { planFaults } from './plan-faults.ts'
import { type PlantedBug, plantedBugs, quickBugs } from './planted-bugs.ts'
import { RECOVERY_MAX_MS, runFaults } from './run-faults.ts'
import { runPlantedBug } from './run-planted-bug.ts'
import { allScenarios } from './scenarios/all-scenarios.ts'
import { runScenario } from './scenarios/run-scenario.ts'
import { mountSmallDisk } from './small-disk.ts'
import type { Backend } from './start-field.ts'

/** Every class once, and one more. */
const QUICK_FAULTS = 26
const FULL_FAULTS = 500
/** A bug that needs two things to meet may be missed once. */
const TRIES_MAX = 3

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    faults: { type: 'string' },
    backend: { type: 'string' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
    /** Events a second. */
    rate: { type: 'string', default: '80' },
    /** Classes of faults. */
    only: { type: 'string' },
    /** Planted bugs. */
    bugs: { type: 'string' },
    scenario: { type: 'string' },
    /** Of a scenario: how long a round or the disturbance lasts, and how often they take turns. */
    seconds: { type: 'string' },
    turns: { type: 'string' },
  },
})
const seed = Number(values.seed)
const perSecond = Number(values.rate)
const total = Number(values.faults ?? (values.quick ? QUICK_FAULTS : FULL_FAULTS))
const backends = chooseBackends(values.backend)
// What was started is ended with this process, however it ends: see testkit's end-with-parent.ts.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

print(`--seed ${seed} repeats this run.`)
if (values.scenario !== undefined) process.exit((await runScenarios(values.scenario)) ? 0 : 1)
const faults = await withoutWhatCannotBe(chooseByName(allFaults, values.only ?? 'all'))
const bugs = chooseByName(plantedBugs, values.bugs ?? (values.quick ? quickBugs.join(',') : 'all'))
const plan = planFaults(faults, backends, total, seededRandom(seed))
const runs = await Promise.all([...plan].map(([backend, planned]) => runBackend(backend, planned)))
for (const { report } of runs) print(JSON.stringify(report))
process.exit(runs.every(({ passed }) => passed) ? 0 : 1)

/** One after the other: what they measure is time. */
async function runScenarios(names: string): Promise<boolean> {
  const results: { line: string; passed: boolean }[] = []
  for (const scenario of chooseByName(allScenarios, names)) {
    for (const backend of backends) {
      const say = (line: string) => print(`${scenario.name} ${backend} ${line}`)
      const given = (text: string | undefined) => (text === undefined ? undefined : Number(text))
      const options = { backend, seed, seconds: given(values.seconds), turns: given(values.turns), say }
      results.push(await runScenario(scenario, options))
    }
  }
  for (const { line } of results) print(line)
  return results.every(({ passed }) => passed)
}

async function runBackend(backend: Backend, planned: Fault[]) {
  const say = (line: string) => print(`${backend} ${line}`)
  const calmMs = values.quick ? 2_000 : 30_000
  const run = await runFaults({ backend, faults: planned, seed, perSecond, calmMs, say })
  const { verdict, worstRecoveryMs, calmDuplicates } = run
  for (const line of run.story) say(line)
  say(
    `${calmDuplicates} duplicates before the first fault; ${verdict.duplicates} in all, ` +
      `${verdict.duplicatesUnanswered} of them after an attempt that got no answer in time`,
  )
  const counts = Map.groupBy(planned, ({ name }) => name)
  say([...counts].map(([name, { length }]) => `${name} ${length}`).join(', '))

  let caught = 0
  for (const bug of bugs) if (await isCaught(bug, backend, say)) caught += 1

  const passed =
    verdict.findings.length === 0 &&
    worstRecoveryMs <= RECOVERY_MAX_MS &&
    calmDuplicates === 0 &&
    caught === bugs.length
  if (!passed) say(`failed; --seed ${seed} repeats it`)
  const { acknowledged, lost, duplicates } = verdict
  return {
    passed,
    report: {
      backend,
      faults: planned.length,
      ...{ acknowledged, lost, duplicates, worstRecoveryMs },
      plantedBugs: bugs.length,
      caught,
    },
  }
}

async function isCaught(bug: PlantedBug, backend: Backend, say: (line: string) => void): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    const { caught, found } = await runPlantedBug(bug, { backend, seed: seed + tries - 1 })
    const findings = [...found].map(([rule, count]) => `${rule} ${count}`).join(', ') || 'nothing found'
    say(`planted ${bug.name}: ${caught ? 'caught' : 'not caught'} (${findings})`)
    if (caught || tries === TRIES_MAX) return caught
  }
}

function chooseBackends(name: string | undefined): Backend[] {
  if (name === 'postgres' || name === 'redis') return [name]
  if (name !== undefined) throw new Error(`--backend is ${name}: it must be postgres or redis.`)
  if (ownRedisAvailable()) return ['postgres', 'redis']
  print('There is no redis-server here: the Redis backend is left out.')
  return ['postgres']
}

async function withoutWhatCannotBe(chosen: Fault[]): Promise<Fault[]> {
  const disk = await mountSmallDisk(tmpdir())
  await disk?.unmount()
  if (disk !== undefined || !chosen.some(({ needsSmallDisk }) => needsSmallDisk)) return chosen
  print('No file system can be mounted here, which takes Linux and root: full disks are left out.')
  return chosen.filter(({ needsSmallDisk }) => !needsSmallDisk)
}

function chooseByName<T extends { name: string }>(all: readonly T[], names: string): T[] {
  if (names === 'none') return []
  if (names === 'all') return [...all]
  return names.split(',').map((name) => {
    const found = all.find((one) => one.name === name)
    if (found === undefined) {
      throw new Error(`There is no ${name}; there are ${all.map((one) => one.name).join(', ')}.`)
    }
    return found
  })
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

// Injects faults into the real processes (API, two workers, PostgreSQL, and Redis in that mode) under a seeded
// load through the SDK, and holds the ledgers of client, receiver and database against each other.
//
//   npx -y pnpm@12.21.0 faults [--quick] [--faults 500] [--backend postgres|redis] [--seed 1]
//
// Ends non-zero when something was lost, or anything else that is promised did not hold, or a planted bug
// was not caught. The last line of a backend is JSON.
import { parseArgs } from 'node:util'
import { ownRedisAvailable } from '@posthorn/testkit'
import { allFaults } from './faults/all-faults.ts'
import { planFaults } from './plan-faults.ts'
import { plantedBugs } from './planted-bugs.ts'
import { RECOVERY_MAX_MS, runFaults } from './run-faults.ts'
import { runPlantedBug } from './run-planted-bug.ts'
import { seededRandom } from './seeded-random.ts'
import type { Backend } from './start-field.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    faults: { type: 'string' },
    backend: { type: 'string' },
    seed: { type: 'string' },
    rate: { type: 'string', default: '80' },
    only: { type: 'string' },
    bugs: { type: 'string' },
  },
  allowPositionals: true,
})
const seed = values.seed === undefined ? Math.floor(Math.random() * 1_000_000) : Number(values.seed)
const total = Number(values.faults ?? (values.quick ? 23 : 500))
const backends: Backend[] =
  values.backend !== undefined
    ? [values.backend as Backend]
    : ['postgres', ...(ownRedisAvailable() ? (['redis'] as const) : [])]
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

const chosen = allFaults.filter(
  ({ name }) => values.only === undefined || values.only.split(',').includes(name),
)
const bugs = plantedBugs.filter(
  ({ name }) => (values.bugs ?? '').split(',').includes(name) || values.bugs === 'all',
)
const plan = planFaults(chosen, backends, total, seededRandom(seed))
print(`seed ${seed}`)
let failed = false
const reports: string[] = []
for (const [backend, faults] of plan) {
  const report = await runFaults({
    ...{ backend, faults, seed, perSecond: Number(values.rate), calmMs: 2_000 },
    say: (line) => print(`${backend} ${line}`),
  })
  const { verdict, worstRecoveryMs, story, calmDuplicates } = report
  for (const line of story) print(line)
  failed ||= verdict.findings.length > 0 || worstRecoveryMs > RECOVERY_MAX_MS || calmDuplicates > 0
  let caught = 0
  for (const bug of bugs) {
    const run = await runPlantedBug(bug, { backend, seed })
    if (run.caught) caught += 1
    const found = [...run.found].map(([rule, count]) => `${rule} ${count}`).join(', ')
    print(
      `${backend} planted ${bug.name}: ${run.caught ? 'caught' : 'NOT CAUGHT'} (${found || 'nothing found'})`,
    )
  }
  failed ||= caught < bugs.length
  reports.push(
    JSON.stringify({
      backend,
      faults: faults.length,
      acknowledged: verdict.acknowledged,
      lost: verdict.lost,
      duplicates: verdict.duplicates,
      worstRecoveryMs,
      plantedBugs: bugs.length,
      caught,
    }),
  )
}
if (failed) print(`Failed; --seed ${seed} repeats it.`)
for (const report of reports) print(report)
process.exit(failed ? 1 : 0)

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

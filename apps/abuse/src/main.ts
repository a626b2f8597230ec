// Tries bad input in bulk on the real processes (three APIs, a worker, PostgreSQL, and Redis in that mode): URLs,
// names, redirects, hostile endpoints, headers, payloads, the OpenAPI document, keys, limits; looks for secrets; and
// measures what the guards cost.
//
//   npx -y pnpm@12.21.0 abuse [--quick] [--backend postgres|redis] [--seed 1] [--verbose]
//     [--only urls,responders,headers,payloads,fuzz,roles,limits,leaks,cost] [--without address-rule]
//
// Ends non-zero when a mark is not held. The last lines are JSON, one a backend. With --without, a guard is taken out
// of the processes first.
//
//   npx -y pnpm@12.21.0 abuse --guards [--without address-rule,deadline] [--backend postgres|redis]
//
// Takes out one guard after the other (or these), runs the part that has to find that out, and ends non-zero when one
// is missed.
import { parseArgs } from 'node:util'
import { ownRedisAvailable } from '@posthorn/testkit'
import { findGuard, guards, PARTS } from './guards.ts'
import { formatMarks } from './mark.ts'
import { runParts } from './run-parts.ts'
import type { Backend } from './start-platform.ts'
import { tryGuards } from './try-guards.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    backend: { type: 'string' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
    /** What came of each hostile endpoint. */
    verbose: { type: 'boolean', default: false },
    only: { type: 'string', default: PARTS.join(',') },
    guards: { type: 'boolean', default: false },
    without: { type: 'string' },
  },
})
const seed = Number(values.seed)
const parts = values.only.split(',').map((name) => {
  const part = PARTS.find((one) => one === name)
  if (part === undefined) throw new Error(`There is no ${name}; there are ${PARTS.join(', ')}.`)
  return part
})
const options = { seed, say: print, sayMore: (line: string) => void (values.verbose && print(line)) }
// What was started is ended with this process, however it ends: see testkit's end-with-parent.ts.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

print(`--seed ${seed} repeats this run.`)
process.exit((await (values.guards ? runGuards() : runBackends())) ? 0 : 1)

async function runBackends(): Promise<boolean> {
  const without = values.without === undefined ? undefined : findGuard(values.without)
  const runs: Awaited<ReturnType<typeof runParts>>[] = []
  for (const backend of chooseBackends(values.backend)) {
    const run = await runParts({ ...options, backend, parts, isQuick: values.quick, without })
    print('')
    print(`${backend}:`)
    for (const line of formatMarks(run.marks)) print(line)
    print('')
    runs.push(run)
  }
  for (const { report } of runs) print(JSON.stringify(report))
  return runs.every(({ marks }) => marks.every(({ held }) => held))
}

/** What a guard stands before does not depend on the queue: one backend is enough. */
async function runGuards(): Promise<boolean> {
  const [backend = 'postgres'] = chooseBackends(values.backend ?? 'postgres')
  const chosen = values.without === undefined ? guards : values.without.split(',').map(findGuard)
  const { table, missed } = await tryGuards(chosen, { ...options, backend })
  print('')
  for (const line of table) print(line)
  print('')
  print(JSON.stringify({ guards: chosen.length, caught: chosen.length - missed.length, missed }))
  return missed.length === 0
}

function chooseBackends(name: string | undefined): Backend[] {
  if (name === 'postgres' || name === 'redis') return [name]
  if (name !== undefined) throw new Error(`--backend is ${name}: it must be postgres or redis.`)
  if (ownRedisAvailable()) return ['postgres', 'redis']
  print('There is no redis-server here: the Redis backend is left out.')
  return ['postgres']
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

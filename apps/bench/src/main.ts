// Measures what a delivery costs in the real processes (API, worker, PostgreSQL, and Redis in that mode), each
// as users run them, against a bare loop beside the same receiver.
//
//   npx -y pnpm@12.21.0 bench [--quick] [--json] [--scenario single,storage] [--backend postgres|redis]
//     [--repeats 5] [--profile DIR] [--out DIR]
//
// The same load against another sender that is running on this machine, with the receiver on a port that is
// known before, so that it can be registered there (docs/performance.md has an example of the file):
//
//   npx -y pnpm@12.21.0 bench --target http --target-file target.json --receiver-port 4100 [--quick] …
//
//   { "method": "POST", "url": "http://127.0.0.1:7676/v1/messages",
//     "headers": { "authorization": "Bearer …", "content-type": "application/json" },
//     "body": { "data": { "id": "{{id}}", "text": "{{payload}}", "at": "{{timestamp}}" } },
//     "idFrom": { "json": "data.id" },   where {{id}} is in what the receiver gets; or { "header": "webhook-id" }
//     "pids": [4711] }                   the sender's processes, where CPU figures are wanted
//
// Ends non-zero when a round lost, doubled or left anything: such a round has no figure.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ownRedisAvailable } from '@posthorn/testkit'
import { writeFigures } from './charts.ts'
import { runTarget } from './run-target.ts'
import type { Figures, Scenario } from './scenario.ts'
import { backlog } from './scenarios/backlog.ts'
import { batch } from './scenarios/batch.ts'
import { fanOut } from './scenarios/fan-out.ts'
import { floor } from './scenarios/floor.ts'
import { grown } from './scenarios/grown.ts'
import { hanging } from './scenarios/hanging.ts'
import { latency } from './scenarios/latency.ts'
import { many } from './scenarios/many.ts'
import { payload } from './scenarios/payload.ts'
import { queue } from './scenarios/queue.ts'
import { scale } from './scenarios/scale.ts'
import { single } from './scenarios/single.ts'
import { start } from './scenarios/start.ts'
import { storage } from './scenarios/storage.ts'
import { BadRoundError, startStage } from './stage.ts'
import type { Backend } from './start-platform.ts'
import { summariseProfile } from './summarise-profile.ts'
import { parseTarget, TargetError } from './target.ts'

const scenarios: readonly Scenario[] = [
  floor,
  single,
  batch,
  queue,
  fanOut,
  payload,
  latency,
  hanging,
  many,
  scale,
  storage,
  backlog,
  grown,
  start,
]

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    scenario: { type: 'string' },
    backend: { type: 'string' },
    repeats: { type: 'string' },
    profile: { type: 'string' },
    out: { type: 'string' },
    target: { type: 'string' },
    'target-file': { type: 'string' },
    'receiver-port': { type: 'string' },
  },
})
const quick = values.quick
const repeats = Number(values.repeats ?? (quick ? 1 : 5))
// What was started ends with this process.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

let failed = false
const all: Figures[] = []
if (values.target === undefined) await benchPlatforms()
else await benchTarget()
if (!values.json) for (const line of all) print(JSON.stringify(line))
process.exit(failed ? 1 : 0)

async function benchPlatforms(): Promise<void> {
  const backends = chooseBackends(values.backend)
  for (const backend of backends) {
    const chosen = chooseScenarios(values.scenario, backend)
    // A platform of its own for each: none measures in what another left. A quick run has no time for that.
    if (quick && values.profile === undefined) await benchPlatform(backend, chosen)
    else
      for (const scenario of chosen) await benchPlatform(backend, [scenario], profileDirOf(backend, scenario))
  }
}

async function benchPlatform(
  backend: Backend,
  ofPlatform: readonly Scenario[],
  profileDir?: string,
): Promise<void> {
  const stage = await startStage(backend, profileDir)
  try {
    const say = sayAs(backend)
    for (const { name, run } of ofPlatform) {
      const isGood = await keep(`${backend} ${name}`, () => run(stage, { quick, repeats, say }))
      // What a bad round left would be in the way of the next.
      if (!isGood) break
    }
  } finally {
    await stage.close()
  }
  if (profileDir !== undefined) printProfiles(profileDir)
}

async function benchTarget(): Promise<void> {
  const file = values['target-file']
  const port = Number(values['receiver-port'])
  try {
    if (values.target !== 'http') throw new TargetError(`--target is ${values.target}: there is only http.`)
    if (file === undefined) throw new TargetError('--target http needs --target-file.')
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new TargetError('--target http needs --receiver-port, the port that is registered at the sender.')
    }
    const target = parseTarget(readFileSync(file, 'utf8'))
    await keep('http', () => runTarget(target, port, { quick, repeats, say: sayAs('http') }))
  } catch (error) {
    if (!(error instanceof TargetError)) throw error
    failed = true
    process.stderr.write(`${file === undefined ? '' : `${file}: `}${error.message}\n`)
  }
}

/** @returns whether there are figures */
async function keep(name: string, measure: () => Promise<Figures[]>): Promise<boolean> {
  try {
    const figures = await measure()
    all.push(...figures)
    // Each time anew: what a run of hours has measured is there if it is ended.
    if (values.out !== undefined) writeFigures(values.out, all)
    if (values.json) for (const line of figures) print(JSON.stringify(line))
    return true
  } catch (error) {
    if (!(error instanceof BadRoundError)) throw error
    failed = true
    process.stderr.write(`${name}: no figure. ${error.message}\n`)
    return false
  }
}

function sayAs(name: string): (line: string) => void {
  return (line) => {
    if (!values.json) print(`${name} ${line}`)
  }
}

/** Profiling costs a process a part of its time: figures of such a run are to be compared with each other only. */
function profileDirOf(backend: Backend, { name }: Scenario): string | undefined {
  return values.profile === undefined ? undefined : join(values.profile, `${backend}-${name}`)
}

function printProfiles(dir: string): void {
  const percent = (share: number) => `${(share * 100).toFixed(1).padStart(5)} %`
  for (const name of ['api', 'worker']) {
    const { busySeconds, parts, functions } = summariseProfile(join(dir, `${name}.cpuprofile`))
    print(`${name}, busy for ${busySeconds.toFixed(1)} s, by part and by function (${dir}):`)
    for (const part of parts) print(`  ${percent(part.share)} ${part.name}`)
    for (const one of functions) print(`    ${percent(one.share)} ${one.name}`)
  }
}

function chooseBackends(name: string | undefined): Backend[] {
  if (name === 'postgres' || name === 'redis') return [name]
  if (name !== undefined) throw new Error(`--backend is ${name}: it must be postgres or redis.`)
  if (ownRedisAvailable()) return ['postgres', 'redis']
  process.stderr.write('There is no redis-server here: the Redis backend is left out.\n')
  return ['postgres']
}

/** Those that are named; or all that there are in such a run. */
function chooseScenarios(names: string | undefined, backend: Backend): Scenario[] {
  if (names === undefined) {
    const isIncluded = ({ ofLogOnly = false }: Scenario) => !ofLogOnly || backend === 'postgres'
    return scenarios.filter((scenario) => (!quick || scenario.quick) && isIncluded(scenario))
  }
  return names.split(',').map((name) => {
    const found = scenarios.find((scenario) => scenario.name === name)
    if (found !== undefined) return found
    throw new Error(`There is no scenario ${name}; there are ${scenarios.map((one) => one.name).join(', ')}.`)
  })
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

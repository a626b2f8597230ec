import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { seededRandom } from '@posthorn/testkit'
import { MISFIT, type PlantedBug } from './planted-bugs.ts'
import { judgeField } from './run-faults.ts'
import { type Backend, settle, startField } from './start-field.ts'
import type { Rule } from './verdict.ts'

/** How long a platform without a bug may take to settle: a lease, the sweep's grace, and some more. */
const SETTLE_MS = 15_000
const PER_SECOND = 60
const CALM_MS = 1_500

/** Runs a platform with the bug in it. @returns what the verdict found, and whether that is the bug. */
export async function runPlantedBug(
  bug: PlantedBug,
  options: { backend: Backend; seed: number },
): Promise<{ caught: boolean; found: Map<Rule, number> }> {
  const field = await startField({
    ...options,
    perSecond: PER_SECOND,
    ...(bug.process === 'worker' && { workerProgram: program('planted-worker.ts', bug) }),
    ...(bug.process === 'api' && { apiProgram: program('planted-api.ts', bug) }),
    ...(bug.settings !== undefined && { settings: bug.settings }),
  })
  try {
    field.load.resume()
    await delay(CALM_MS)
    await bug.expose?.(field, seededRandom(options.seed))
    await settle(field, SETTLE_MS).catch(() => {})
    const misfit = [field.api, ...field.workers].flatMap((slot) => slot.linesWith(MISFIT))[0]
    if (misfit !== undefined) throw new Error(`${bug.name}: ${misfit}`)
    const { findings } = await judgeField(field)
    const found = new Map<Rule, number>()
    for (const { rule } of findings) found.set(rule, (found.get(rule) ?? 0) + 1)
    return { caught: bug.caughtBy.some((rule) => found.has(rule)), found }
  } finally {
    await field.close()
  }
}

function program(script: string, bug: PlantedBug): [string, string] {
  return [fileURLToPath(new URL(script, import.meta.url)), bug.name]
}

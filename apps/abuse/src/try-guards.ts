import type { Guard } from './guards.ts'
import { type RunOptions, runParts } from './run-parts.ts'

/**
 * Takes one guard after the other out, and runs the part of the suite that has to find that out.
 *
 * @returns the table, and the names of those that were missed
 */
export async function tryGuards(
  guards: readonly Guard[],
  options: Pick<RunOptions, 'backend' | 'seed' | 'say' | 'sayMore'>,
): Promise<{ table: string[]; missed: string[] }> {
  const rows: { name: string; found: string; isCaught: boolean }[] = []
  for (const guard of guards) {
    const { name, part, mark } = guard
    const startedAt = Date.now()
    const found = await findOut(guard, options)
    const isCaught = found !== undefined
    rows.push({ name, isCaught, found: found ?? `MISSED: ${part}, ${mark}` })
    const seconds = ((Date.now() - startedAt) / 1_000).toFixed(0)
    options.say(`${name}: ${isCaught ? 'caught' : 'MISSED'} by ${part}, ${seconds} s`)
  }
  const width = Math.max(...rows.map(({ name }) => name.length))
  return {
    table: rows.map(({ name, found }) => `${name.padEnd(width)}  ${found}`),
    missed: rows.filter(({ isCaught }) => !isCaught).map(({ name }) => name),
  }
}

/** @returns what was found without it; undefined: nothing, or something else */
async function findOut(
  guard: Guard,
  { say, ...options }: Pick<RunOptions, 'backend' | 'seed' | 'say' | 'sayMore'>,
): Promise<string | undefined> {
  const { part, mark, finding = /(?:)/ } = guard
  const { marks } = await runParts({
    ...options,
    ...{ parts: [part], isQuick: true, without: guard },
    say: () => {},
  })
  const notHeld = marks.filter(({ held }) => !held)
  const found = notHeld
    .filter(({ what }) => what === mark)
    .flatMap(({ findings }) => findings)
    .find((one) => finding.test(one))
  if (found !== undefined) return `${mark}: ${found.replaceAll(/\s+/g, ' ').slice(0, 160)}`
  for (const { what, findings } of notHeld) say(`${guard.name}: ${what}: ${findings[0]?.slice(0, 200)}`)
  return undefined
}

import type { Scenario, ScenarioOptions } from './scenario.ts'

/** @returns the line of JSON, and whether the mark was kept */
export async function runScenario(
  { name, run }: Scenario,
  options: ScenarioOptions,
): Promise<{ line: string; passed: boolean }> {
  const { backend, seed } = options
  const report = await run(options).catch((error: unknown) => {
    options.say(error instanceof Error ? (error.stack ?? error.message) : String(error))
    return { passed: false, error: error instanceof Error ? error.message : String(error) }
  })
  return { line: JSON.stringify({ scenario: name, backend, seed, ...report }), passed: report.passed }
}

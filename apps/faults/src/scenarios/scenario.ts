import type { Backend } from '../start-field.ts'

/** One promise about speed or memory, held against a mark within one run. */
export interface Scenario {
  name: string
  run(options: ScenarioOptions): Promise<ScenarioReport>
}

export interface ScenarioOptions {
  backend: Backend
  seed: number
  /** How long a round, or the disturbance, lasts; each scenario has its own default. */
  seconds: number | undefined
  /** How often baseline and disturbance take turns; each scenario has its own default. */
  turns: number | undefined
  say(line: string): void
}

interface ScenarioReport {
  /** What it must not exceed. */
  mark: number | Record<string, unknown>
  passed: boolean
  [figure: string]: unknown
}

import type { Stage } from './stage.ts'

/** One line of figures. */
export interface Figures {
  scenario: string
  variant: string
  [figure: string]: string | number | undefined
}

export interface ScenarioOptions {
  quick: boolean
  /** Rounds of each variant, taking turns with the bare loop. */
  repeats: number
  say(line: string): void
}

export interface Scenario {
  name: string
  /** Part of a quick run. */
  quick: boolean
  /** Measures what the log does, which is in PostgreSQL with either backend: where nobody names it, once is enough. */
  ofLogOnly?: boolean
  run(stage: Stage, options: ScenarioOptions): Promise<Figures[]>
}

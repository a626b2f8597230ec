import { median, percentile } from './percentile.ts'

/** What one round measured: from the time that an event was meant to be emitted until it was received. */
export interface Round {
  latenciesMs: readonly number[]
  /** Not received within the bound. */
  missing: number
}

export interface Comparison {
  /** Of the medians; undefined where nothing can be compared. */
  ratio: number | undefined
  baselineP99Ms: Spread
  disturbedP99Ms: Spread
  missing: number
  passed: boolean
}

/** Of the p99 of each round, in milliseconds. */
interface Spread {
  min: number
  median: number
  max: number
}

/**
 * Compares the medians of the rounds' p99: a round in which the machine did something else decides nothing.
 * What was not received counts as later than everything.
 */
export function compareRounds(
  baseline: readonly Round[],
  disturbed: readonly Round[],
  mark: number,
): Comparison {
  const baselineP99Ms = spreadOf(baseline)
  const disturbedP99Ms = spreadOf(disturbed)
  const ratio = disturbedP99Ms.median / baselineP99Ms.median
  const missing = [...baseline, ...disturbed].reduce((sum, round) => sum + round.missing, 0)
  const isComparable = Number.isFinite(ratio)
  return {
    ratio: isComparable ? round(ratio, 2) : undefined,
    baselineP99Ms,
    disturbedP99Ms,
    missing,
    passed: isComparable && ratio <= mark && missing === 0,
  }
}

export function roundP99Ms({ latenciesMs, missing }: Round): number {
  const late = Array.from({ length: missing }, () => Number.POSITIVE_INFINITY)
  return round(percentile([...latenciesMs, ...late], 0.99), 1)
}

function spreadOf(rounds: readonly Round[]): Spread {
  const all = rounds.map(roundP99Ms)
  return { min: Math.min(...all), median: round(median(all), 1), max: Math.max(...all) }
}

function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits
}

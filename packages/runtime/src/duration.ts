const unitsMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

type Unit = keyof typeof unitsMs

/**
 * Reads `250ms`, `5s`, `2.5m`, `2h` or `1d` as milliseconds, rounded to a whole one.
 * Anything else, a bare number included, is undefined: a number without a unit is a guess.
 */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)$/.exec(text)
  if (match === null) return undefined
  const durationMs = Math.round(Number(match[1]) * unitsMs[match[2] as Unit])
  return Number.isSafeInteger(durationMs) ? durationMs : undefined
}

/** The shortest exact form of whole milliseconds in one unit: 300000 is `5m`, 90000 is `90s`. */
export function formatDuration(durationMs: number): string {
  if (durationMs === 0) return '0s'
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (durationMs % unitsMs[unit] === 0) return `${durationMs / unitsMs[unit]}${unit}`
  }
  return `${durationMs}ms`
}

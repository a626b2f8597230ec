/** One row of the table: what was counted, and whether that is what was promised. */
export interface Mark {
  what: string
  found: string
  /** What it has to be. */
  mark: string
  held: boolean
  /** Of the worst, where it was not held. */
  findings: readonly string[]
}

/** In place of a mark: something to know, whatever it is. */
export const NOTE = 'to know'

const FINDINGS_SHOWN = 12

/** A mark that no finding may be made. */
export function nothingFound(what: string, tried: number, findings: readonly string[]): Mark {
  return {
    what,
    found: `${findings.length} of ${tried}`,
    mark: '0',
    held: findings.length === 0 && tried > 0,
    findings,
  }
}

export function formatMarks(marks: readonly Mark[]): string[] {
  const rows = [
    ['what', 'found', 'mark', ''],
    ...marks.map((one) => [one.what, one.found, one.mark, one.held ? 'held' : 'NOT HELD']),
  ]
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  const table = rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  const findings = marks.flatMap(({ what, mark, held, findings: found }) =>
    held && mark !== NOTE
      ? []
      : found.slice(0, FINDINGS_SHOWN).map((finding) => `  ${what}: ${finding.slice(0, 400)}`),
  )
  return [...table, ...findings]
}

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type BarChart, drawBars } from './draw-bars.ts'
import type { Figures } from './scenario.ts'
import { tablesOf } from './tables.ts'

/** Writes figures as JSON lines to `dir`/figures.jsonl, and tables (figures.md) and charts of them beside it. */
export function writeFigures(dir: string, figures: readonly Figures[]): void {
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'figures.jsonl'), figures.map((line) => `${JSON.stringify(line)}\n`).join(''))
  writeFileSync(join(dir, 'figures.md'), tablesOf(figures))
  for (const [name, chart] of chartsOf(figures)) writeFileSync(join(dir, `${name}.svg`), drawBars(chart))
}

/** Charts by name, of the lines that have the figures for them; none of nothing. */
export function chartsOf(figures: readonly Figures[]): Map<string, BarChart> {
  const charts: [string, BarChart][] = [
    [
      'deliveries-per-second',
      {
        ...{ title: 'Deliveries a second', unit: 'deliveries/s', layout: 'stacked', scale: 'linear' },
        rows: rowsOf(figures, { deliveriesPerSecond: 'deliveries/s' }),
      },
    ],
    [
      'ratio',
      {
        title: 'Deliveries for a CPU second, as a part of what a bare loop does beside them',
        ...{ unit: 'of the bare loop', layout: 'stacked', scale: 'linear' },
        rows: rowsOf(figures, { ratio: 'ratio' }),
      },
    ],
    [
      'latency',
      {
        title: 'From when an event was to be emitted until it came',
        ...{ unit: 'ms', layout: 'beside', scale: 'logarithmic' },
        rows: rowsOf(figures, { p50Ms: 'p50', p99Ms: 'p99', p999Ms: 'p99.9' }),
      },
    ],
    [
      'cpu',
      {
        ...{ title: 'CPU time of a delivery', unit: 'µs', layout: 'stacked', scale: 'linear' },
        rows: rowsOf(figures, {
          ...{ apiUs: 'API', workerUs: 'worker', postgresUs: 'PostgreSQL', redisUs: 'Redis' },
        }),
      },
    ],
  ]
  return new Map(charts.filter(([, { rows }]) => rows.length > 0))
}

/** A row a line that has all of the figures. */
function rowsOf(figures: readonly Figures[], names: Record<string, string>): BarChart['rows'] {
  return figures.flatMap((line) => {
    const bars = Object.entries(names).map(([figure, name]) => ({ name, value: line[figure] }))
    const label = [line.scenario, line.variant, line.backend].filter(Boolean).join(' · ')
    return bars.every(isMeasured) ? [{ label, bars }] : []
  })
}

function isMeasured(bar: {
  name: string
  value: string | number | undefined
}): bar is { name: string; value: number } {
  return typeof bar.value === 'number' && Number.isFinite(bar.value)
}

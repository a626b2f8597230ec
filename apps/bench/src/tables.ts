import { judgeMarks } from './marks.ts'
import type { Figures } from './scenario.ts'

const BACKENDS: Record<string, string> = { postgres: 'PostgreSQL', redis: 'Redis' }
const PARTS = ['apiUs', 'workerUs', 'postgresUs', 'redisUs']
/** In columns of their own, of a line that has a ratio. */
const IN_COLUMNS = ['deliveriesPerSecond', 'ratio', 'perCpuSecond', 'bareLoopPerCpuSecond', ...PARTS]
const LISTS_SHOWN = 5

type Row = readonly string[]

/** Figures as Markdown: a table for each kind of them, each figure with the least and the most of its rounds. */
export function tablesOf(lines: readonly Figures[]): string {
  const isList = ({ p95Ms, variant }: Figures) => p95Ms !== undefined && variant.startsWith('GET ')
  const isLatency = ({ p999Ms }: Figures) => p999Ms !== undefined
  const others = lines.filter((line) => !isList(line) && !isLatency(line))
  return [
    table(
      [
        'scenario',
        'backend',
        'deliveries/s',
        'ratio (least to most)',
        'CPU us: API, worker, PostgreSQL, Redis',
      ],
      lines.filter(({ ratio }) => ratio !== undefined).map(throughputRow),
    ),
    table(
      [
        '`latency`',
        'backend',
        'p50 (least to most)',
        'p99 (least to most)',
        'p99.9',
        'bare POST: p50',
        'p99',
      ],
      lines.filter(isLatency).map(latencyRow),
    ),
    table(
      ['scenario', 'backend', 'figures (least to most)'],
      others
        .map((line) => [nameOf(line), backendOf(line), ownFigures(line)])
        .filter(([, , own]) => own !== ''),
    ),
    table(
      ['slowest lists', 'p50', 'p95'],
      lines
        .filter(isList)
        .toSorted((a, b) => Number(b.p95Ms) - Number(a.p95Ms))
        .slice(0, LISTS_SHOWN)
        .map(({ variant, p50Ms, p95Ms }) => [`\`${variant}\``, `${p50Ms} ms`, `${p95Ms} ms`]),
    ),
    table(
      ['mark', 'bound', ...Object.values(BACKENDS)],
      judgeMarks(lines).map(({ name, bound, results }) => [
        ...[name, bound],
        ...Object.keys(BACKENDS).map((backend) => {
          const result = results.get(backend)
          return result === undefined ? '' : `${result.figures.join(', ')}${result.isHeld ? ': held' : ''}`
        }),
      ]),
    ),
  ]
    .filter((text) => text !== '')
    .join('\n')
}

function throughputRow(line: Figures): Row {
  const parts = PARTS.map((part) => Number(line[part]))
  const ofRedis = line.backend === 'redis' ? parts : parts.slice(0, -1)
  return [
    ...[nameOf(line), backendOf(line), Number(line.deliveriesPerSecond).toLocaleString('en')],
    withSpread(line, 'ratio'),
    `${parts.reduce((a, b) => a + b, 0)}: ${ofRedis.join(', ')}`,
  ]
}

function latencyRow(line: Figures): Row {
  const rate = line.variant.includes('%') ? `, ${line.perSecond}/s` : ''
  const [p50, p99, bareP50, bareP99] = ['p50Ms', 'p99Ms', 'bareP50Ms', 'bareP99Ms'].map((name) =>
    line[name] === undefined ? '' : withSpread(line, name),
  )
  return [`${line.variant}${rate}`, backendOf(line), p50!, p99!, `${line.p999Ms}`, bareP50!, bareP99!]
}

/** Those that have no column of their own, which a line has beside its ratio. */
function ownFigures(line: Figures): string {
  const inColumns = line.ratio === undefined ? [] : IN_COLUMNS
  return Object.entries(line)
    .filter(
      ([name, value]) => typeof value === 'number' && !inColumns.includes(name) && !/(Min|Max)$/.test(name),
    )
    .map(([name]) => `\`${name}\` ${withSpread(line, name)}`)
    .join(', ')
}

function withSpread(line: Figures, name: string): string {
  const { [name]: figure, [`${name}Min`]: least, [`${name}Max`]: most } = line
  return least === undefined || most === undefined ? `${figure}` : `${figure} (${least} to ${most})`
}

function nameOf({ scenario, variant }: Figures): string {
  return `\`${scenario}\`, ${variant}`
}

function backendOf({ backend }: Figures): string {
  return BACKENDS[String(backend)] ?? String(backend)
}

/** Nothing where there are no rows. */
function table(head: Row, rows: readonly Row[]): string {
  if (rows.length === 0) return ''
  const lines = [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |\n`)
  return lines.join('')
}

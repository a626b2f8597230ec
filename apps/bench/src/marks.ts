import type { Figures } from './scenario.ts'
import type { Backend } from './start-platform.ts'

/** A bound of a figure, of each backend or of both. It is held when every variant that it is about holds it. */
interface Mark {
  scenario: string
  /** Of those of the scenario; left out, it is about all of them. */
  variant?: string
  figure: string
  bound: 'atLeast' | 'atMost'
  value: number | Record<Backend, number>
}

/** What the figures were to be, on two cores that are shared with the generator and the receiver. */
const MARKS: readonly Mark[] = [
  { scenario: 'single', figure: 'ratio', bound: 'atLeast', value: { postgres: 0.3, redis: 0.35 } },
  { scenario: 'batch', figure: 'ratio', bound: 'atLeast', value: 0.5 },
  { scenario: 'fan-out', variant: '10 endpoints', figure: 'ratio', bound: 'atLeast', value: 0.5 },
  { scenario: 'latency', variant: '50 % of its maximum', figure: 'p50Ms', bound: 'atMost', value: 5 },
  { scenario: 'latency', variant: '50 % of its maximum', figure: 'p99Ms', bound: 'atMost', value: 25 },
  { scenario: 'latency', variant: '50/s', figure: 'p50Ms', bound: 'atMost', value: 3 },
  { scenario: 'hanging', figure: 'p99Ratio', bound: 'atMost', value: 1.5 },
  { scenario: 'hanging', figure: 'throughputRatio', bound: 'atLeast', value: 0.8 },
  {
    scenario: 'backlog',
    variant: '1,000,000 deliveries',
    figure: 'drainRatio',
    bound: 'atLeast',
    value: 0.8,
  },
  {
    ...{ scenario: 'backlog', variant: '1,000,000 deliveries' },
    ...{ figure: 'redisBytesPerWaiting', bound: 'atMost', value: 20 },
  },
  { scenario: 'grown', figure: 'singleRatio', bound: 'atLeast', value: 0.9 },
  { scenario: 'grown', variant: 'slowest list', figure: 'slowestP95Ms', bound: 'atMost', value: 50 },
  { scenario: 'many', figure: 'throughputRatio', bound: 'atLeast', value: 0.7 },
  { scenario: 'many', figure: 'workerRssMb', bound: 'atMost', value: 400 },
  { scenario: 'storage', figure: 'bytesBeyondPayload', bound: 'atMost', value: 600 },
  { scenario: 'start', figure: 'embeddedFirstDeliveryMs', bound: 'atMost', value: 3_000 },
]

/** A mark held against what was measured. */
export interface JudgedMark {
  name: string
  bound: string
  /** By backend; none where it was not measured. */
  results: Map<string, { figures: number[]; isHeld: boolean }>
}

/** Marks that any of the lines is about. */
export function judgeMarks(lines: readonly Figures[], marks: readonly Mark[] = MARKS): JudgedMark[] {
  const judged = marks.map((mark) => ({
    name: [`\`${mark.scenario}\``, mark.variant, `\`${mark.figure}\``].filter(Boolean).join(', '),
    bound: boundText(mark),
    results: judge(mark, lines),
  }))
  return judged.filter(({ results }) => results.size > 0)
}

function judge(mark: Mark, lines: readonly Figures[]): JudgedMark['results'] {
  const results: JudgedMark['results'] = new Map()
  for (const backend of ['postgres', 'redis'] as const) {
    const figures = lines
      .filter((line) => line.scenario === mark.scenario && line.backend === backend)
      .filter(({ variant }) => mark.variant === undefined || variant === mark.variant)
      .map((line) => line[mark.figure])
      .filter((figure) => typeof figure === 'number')
    if (figures.length === 0) continue
    const value = valueFor(mark, backend)
    const holds = (figure: number) => (mark.bound === 'atLeast' ? figure >= value : figure <= value)
    results.set(backend, { figures, isHeld: figures.every(holds) })
  }
  return results
}

function boundText(mark: Mark): string {
  const values = [...new Set([valueFor(mark, 'postgres'), valueFor(mark, 'redis')])]
  return `${mark.bound === 'atLeast' ? 'at least' : 'at most'} ${values.join(', Redis ')}`
}

function valueFor({ value }: Mark, backend: Backend): number {
  return typeof value === 'number' ? value : value[backend]
}

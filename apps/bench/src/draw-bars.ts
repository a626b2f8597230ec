/** A chart of horizontal bars, a row for each thing that was measured. */
export interface BarChart {
  title: string
  /** What the axis counts. */
  unit: string
  /** `stacked`: the bars of a row are parts of a whole; `beside`: one below the other. */
  layout: 'stacked' | 'beside'
  scale: 'linear' | 'logarithmic'
  rows: { label: string; bars: { name: string; value: number }[] }[]
}

const CHART_WIDTH = 960
const MARGIN = 16
const CHARACTER_WIDTH = 6.6
/** For a figure behind the longest bar. */
const VALUE_WIDTH = 72
const BAR_HEIGHT = 14
const ROW_GAP = 10
const HEADER_HEIGHT = 64
const AXIS_HEIGHT = 40
const TICKS = 5

/** Told apart in the light and in the dark, and by most who see fewer colours. */
const FILLS = ['#4477cc', '#dd8833', '#339977', '#aa5599', '#998800', '#888888']

// The panel has a background of its own, so that its text can be read wherever it is shown.
const STYLE = `
  .panel { fill: #ffffff; } .text { fill: #1f2328; } .faint { fill: #59636e; } .grid { stroke: #d1d9e0; }
  @media (prefers-color-scheme: dark) {
    .panel { fill: #151b23; } .text { fill: #f0f6fc; } .faint { fill: #9198a1; } .grid { stroke: #3d444d; }
  }
  text { font: 12px system-ui, sans-serif; } .title { font-size: 16px; font-weight: 600; }`

/** @returns an SVG document */
export function drawBars({ title, unit, layout, scale, rows }: BarChart): string {
  const names = [...new Set(rows.flatMap(({ bars }) => bars.map(({ name }) => name)))]
  const fillOf = (name: string) => FILLS[names.indexOf(name) % FILLS.length]!
  const left = MARGIN * 2 + CHARACTER_WIDTH * Math.max(0, ...rows.map(({ label }) => label.length))
  const width = CHART_WIDTH - left - VALUE_WIDTH - MARGIN
  const axis = scale === 'linear' ? linearAxis(wholes(rows, layout)) : logarithmicAxis(wholes(rows, layout))
  const xOf = (value: number) => left + axis.share(value) * width

  const parts: string[] = []
  let y = HEADER_HEIGHT
  for (const { label, bars } of rows) {
    const height = layout === 'stacked' ? BAR_HEIGHT : BAR_HEIGHT * bars.length
    parts.push(textAt(left - MARGIN / 2, y + height / 2, label, 'text', 'end'))
    let before = 0
    for (const [at, { name, value }] of bars.entries()) {
      const [from, to] = layout === 'stacked' ? [before, before + value] : [axis.least, value]
      const top = layout === 'stacked' ? y : y + at * BAR_HEIGHT
      const barHeight = layout === 'stacked' ? BAR_HEIGHT : BAR_HEIGHT - 2
      parts.push(
        `<rect x="${round(xOf(from))}" y="${top}" width="${round(Math.max(1, xOf(to) - xOf(from)))}" ` +
          `height="${barHeight}" fill="${fillOf(name)}"><title>${xmlText(`${label}, ${name}: ${readable(value)} ${unit}`)}</title></rect>`,
      )
      if (layout === 'beside')
        parts.push(textAt(xOf(to) + 4, top + barHeight / 2, readable(value), 'faint', 'start'))
      before += value
    }
    if (layout === 'stacked') {
      parts.push(textAt(xOf(before) + 4, y + height / 2, readable(before), 'faint', 'start'))
    }
    y += height + ROW_GAP
  }
  const grid = axis.ticks.map(
    (tick) =>
      `<line class="grid" x1="${round(xOf(tick))}" x2="${round(xOf(tick))}" y1="${HEADER_HEIGHT - 4}" y2="${y}"/>` +
      textAt(xOf(tick), y + 12, readable(tick), 'faint', 'middle'),
  )
  let legendX = MARGIN
  const legend = names.map((name) => {
    const x = legendX
    legendX += 28 + name.length * CHARACTER_WIDTH
    return (
      `<rect x="${round(x)}" y="40" width="10" height="10" fill="${fillOf(name)}"/>` +
      textAt(x + 14, 45, name, 'text', 'start')
    )
  })
  const chartHeight = y + AXIS_HEIGHT
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${CHART_WIDTH} ${chartHeight}" width="${CHART_WIDTH}" height="${chartHeight}" role="img" aria-labelledby="title">
<title id="title">${xmlText(`${title} (${unit})`)}</title>
<style>${STYLE}
</style>
<rect class="panel" width="100%" height="100%" rx="6"/>
<text class="text title" x="${MARGIN}" y="26">${xmlText(title)}</text>
${[...(names.length > 1 ? legend : []), ...grid, ...parts].join('\n')}
${textAt(left + width, y + 28, unit, 'faint', 'end')}
</svg>
`
}

interface Axis {
  least: number
  ticks: number[]
  /** From 0 to 1. */
  share(value: number): number
}

function wholes(rows: BarChart['rows'], layout: BarChart['layout']): number[] {
  if (layout === 'beside') return rows.flatMap(({ bars }) => bars.map(({ value }) => value))
  return rows.map(({ bars }) => bars.reduce((sum, { value }) => sum + value, 0))
}

function linearAxis(values: readonly number[]): Axis {
  const most = Math.max(0, ...values) || 1
  const step = niceStep(most / TICKS)
  const ticks = Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, at) => at * step)
  return { least: 0, ticks, share: (value) => value / most }
}

function logarithmicAxis(values: readonly number[]): Axis {
  const above = values.filter((value) => value > 0)
  const least = Math.floor(Math.log10(Math.min(...above)))
  const most = Math.max(least + 1, Math.ceil(Math.log10(Math.max(...above))))
  return {
    least: 10 ** least,
    ticks: Array.from({ length: most - least + 1 }, (_, at) => 10 ** (least + at)),
    share: (value) => (value <= 0 ? 0 : (Math.log10(value) - least) / (most - least)),
  }
}

/** 1, 2 or 5 times a power of ten, not below `step`. */
function niceStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step))
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= step * (1 - 1e-9)) ?? 10)
}

function textAt(
  x: number,
  middle: number,
  text: string,
  kind: string,
  anchor: 'start' | 'middle' | 'end',
): string {
  return `<text class="${kind}" x="${round(x)}" y="${round(middle + 4)}" text-anchor="${anchor}">${xmlText(text)}</text>`
}

/** Three digits that count, and thousands told apart. */
function readable(value: number): string {
  return value.toLocaleString(
    'en',
    value >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 },
  )
}

function xmlText(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

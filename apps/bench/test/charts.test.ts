import { expect, test } from 'vitest'
import { chartsOf } from '../src/charts.ts'
import { type BarChart, drawBars } from '../src/draw-bars.ts'

const single = { scenario: 'single', variant: '64 connections', backend: 'redis' }

test('a chart has the lines that have its figures', () => {
  const charts = chartsOf([
    { ...single, deliveriesPerSecond: 5_000, apiUs: 60, workerUs: 80, postgresUs: 70, redisUs: 5 },
    { scenario: 'latency', variant: '50/s', backend: 'http', p50Ms: 4, p99Ms: 9, p999Ms: Number.NaN },
  ])
  expect([...charts.keys()]).toEqual(['deliveries-per-second', 'cpu'])
  expect(charts.get('cpu')!.rows).toEqual([
    {
      label: 'single · 64 connections · redis',
      bars: [
        { name: 'API', value: 60 },
        { name: 'worker', value: 80 },
        { name: 'PostgreSQL', value: 70 },
        { name: 'Redis', value: 5 },
      ],
    },
  ])
})

const chart: BarChart = {
  ...{ title: 'A < B', unit: 'µs', layout: 'stacked', scale: 'linear' },
  rows: [
    {
      label: 'one & two',
      bars: [
        { name: 'API', value: 30 },
        { name: 'worker', value: 70 },
      ],
    },
    { label: 'half', bars: [{ name: 'API', value: 50 }] },
  ],
}

test('a bar is as long as its value', () => {
  const widths = [...drawBars(chart).matchAll(/width="([\d.]+)" height="14"/g)].map(([, width]) =>
    Number(width),
  )
  const [api, worker, half] = widths as [number, number, number]
  expect(widths).toHaveLength(3)
  expect(half / (api + worker)).toBeCloseTo(0.5, 2)
  expect(api / worker).toBeCloseTo(3 / 7, 2)
})

test('by a logarithmic scale each power of ten takes the same room', () => {
  const bars = [0.1, 1, 10, 100].map((value) => ({ name: String(value), value }))
  const svg = drawBars({ ...chart, layout: 'beside', scale: 'logarithmic', rows: [{ label: 'one', bars }] })
  const widths = [...svg.matchAll(/width="([\d.]+)" height="12"/g)].map(([, width]) => Number(width))
  expect(widths[3]! - widths[2]!).toBeCloseTo(widths[2]! - widths[1]!, 0)
})

test('a chart says what it is, whatever is in its names', () => {
  const svg = drawBars(chart)
  expect(svg).toContain('<title id="title">A &lt; B (µs)</title>')
  expect(svg).toContain('one &amp; two, API: 30 µs')
  expect(svg).not.toMatch(/NaN|undefined/)
})

import { expect, test } from 'vitest'
import { judgeMarks } from '../src/marks.ts'
import { tablesOf } from '../src/tables.ts'

const many = {
  scenario: 'many',
  variant: '10 endpoints',
  backend: 'postgres',
  workerRssMb: 401,
  deliveriesPerSecond: 800,
}

test('a mark is held only when every variant holds it', () => {
  const single = { scenario: 'single', backend: 'redis' }
  const [mark] = judgeMarks([
    { ...single, variant: '64 connections', ratio: 0.34 },
    { ...single, variant: '256 connections', ratio: 0.36 },
  ])
  expect(mark).toEqual({
    name: '`single`, `ratio`',
    bound: 'at least 0.3, Redis 0.35',
    results: new Map([['redis', { figures: [0.34, 0.36], isHeld: false }]]),
  })
  const [both] = judgeMarks([{ ...single, variant: '256 connections', ratio: 0.35 }])
  expect(both!.results.get('redis')!.isHeld).toBe(true)
})

test('what was not measured is not judged', () => {
  expect(judgeMarks([{ scenario: 'queue', variant: 'all', backend: 'redis', ratio: 1 }])).toEqual([])
  expect(judgeMarks([many]).map(({ name }) => name)).toEqual(['`many`, `workerRssMb`'])
})

test('each figure is in one table, with its spread', () => {
  const text = tablesOf([
    {
      ...{ scenario: 'payload', variant: '1 KiB', backend: 'redis', deliveriesPerSecond: 5_000 },
      ...{ ratio: 0.1, ratioMin: 0.09, ratioMax: 0.12, megabytesPerSecond: 5.1 },
      ...{ apiUs: 1, workerUs: 2, postgresUs: 3, redisUs: 4 },
    },
    {
      ...{ scenario: 'latency', variant: '50 % of its maximum', backend: 'postgres', perSecond: 900 },
      ...{ p50Ms: 4, p50MsMin: 3, p50MsMax: 6, p99Ms: 24, p99MsMin: 20, p99MsMax: 40, p999Ms: 50 },
      ...{ bareP50Ms: 1, bareP50MsMin: 0.5, bareP50MsMax: 2 },
    },
    { scenario: 'grown', variant: 'GET /v1/x?y=z', backend: 'postgres', requests: 20, p50Ms: 3, p95Ms: 8 },
    many,
  ])
  expect(text.split('\n')).toEqual([
    '| scenario | backend | deliveries/s | ratio (least to most) | CPU us: API, worker, PostgreSQL, Redis |',
    '| --- | --- | --- | --- | --- |',
    '| `payload`, 1 KiB | Redis | 5,000 | 0.1 (0.09 to 0.12) | 10: 1, 2, 3, 4 |',
    '',
    '| `latency` | backend | p50 (least to most) | p99 (least to most) | p99.9 | bare POST: p50 | p99 |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    '| 50 % of its maximum, 900/s | PostgreSQL | 4 (3 to 6) | 24 (20 to 40) | 50 | 1 (0.5 to 2) |  |',
    '',
    '| scenario | backend | figures (least to most) |',
    '| --- | --- | --- |',
    '| `payload`, 1 KiB | Redis | `megabytesPerSecond` 5.1 |',
    '| `many`, 10 endpoints | PostgreSQL | `workerRssMb` 401, `deliveriesPerSecond` 800 |',
    '',
    '| slowest lists | p50 | p95 |',
    '| --- | --- | --- |',
    '| `GET /v1/x?y=z` | 3 ms | 8 ms |',
    '',
    '| mark | bound | PostgreSQL | Redis |',
    '| --- | --- | --- | --- |',
    '| `latency`, 50 % of its maximum, `p50Ms` | at most 5 | 4: held |  |',
    '| `latency`, 50 % of its maximum, `p99Ms` | at most 25 | 24: held |  |',
    '| `many`, `workerRssMb` | at most 400 | 401 |  |',
    '',
  ])
})

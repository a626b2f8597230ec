// Tries bad input in bulk on the real processes (two APIs, a worker, PostgreSQL, and Redis in that mode): URLs,
// names, redirects, hostile endpoints, headers, payloads, the OpenAPI document, keys; and looks for secrets.
//
//   npx -y pnpm@12.21.0 abuse [--quick] [--backend postgres|redis] [--seed 1] [--verbose]
//     [--only urls,responders,headers,payloads,fuzz,roles,leaks]
//
// Ends non-zero when a mark is not held. The last lines are JSON, one a backend.
import { parseArgs } from 'node:util'
import { ownRedisAvailable } from '@posthorn/testkit'
import { startDnsServer } from './dns-server.ts'
import { findLeaks } from './find-leaks.ts'
import { formatMarks, type Mark } from './mark.ts'
import { type Backend, startPlatform } from './start-platform.ts'
import { tryFuzz } from './try-fuzz.ts'
import { tryHeaders } from './try-headers.ts'
import { tryPayloads } from './try-payloads.ts'
import { tryResponders } from './try-responders.ts'
import { tryRoles } from './try-roles.ts'
import { tryUrls } from './try-urls.ts'
import { zone } from './url-inputs.ts'

const PARTS = ['urls', 'responders', 'headers', 'payloads', 'fuzz', 'roles', 'leaks']

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    backend: { type: 'string' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
    /** What came of each hostile endpoint. */
    verbose: { type: 'boolean', default: false },
    only: { type: 'string', default: PARTS.join(',') },
  },
})
const seed = Number(values.seed)
const parts = values.only.split(',')
for (const part of parts) {
  if (!PARTS.includes(part)) throw new Error(`There is no ${part}; there are ${PARTS.join(', ')}.`)
}
// What was started is ended with this process, however it ends: see testkit's end-with-parent.ts.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

print(`--seed ${seed} repeats this run.`)
const runs: Awaited<ReturnType<typeof run>>[] = []
for (const backend of chooseBackends(values.backend)) runs.push(await run(backend))
for (const { report } of runs) print(JSON.stringify(report))
process.exit(runs.every(({ marks }) => marks.every(({ held }) => held)) ? 0 : 1)

async function run(backend: Backend) {
  await using stack = new AsyncDisposableStack()
  const dns = await startDnsServer(zone)
  stack.defer(() => dns.close())
  const platform = await startPlatform({ backend, dnsPort: dns.port })
  stack.defer(() => platform.close())
  const marks: Mark[] = []
  const step = async <T extends { marks: Mark[] }>(
    name: string,
    act: () => Promise<T>,
  ): Promise<T | undefined> => {
    if (!parts.includes(name)) return undefined
    const startedAt = Date.now()
    const result = await act()
    marks.push(...result.marks)
    print(`${backend}: ${name}, ${((Date.now() - startedAt) / 1_000).toFixed(1)} s`)
    return result
  }
  const { quick } = values
  const urls = await step('urls', () => tryUrls(platform))
  const responders = await step('responders', () =>
    tryResponders(platform, {
      requests: quick ? 20 : 1_000,
      badCertificates: quick ? 200 : 10_000,
      isMemoryJudged: !quick,
      say: (line) => void (values.verbose && print(line)),
    }),
  )
  const headers = await step('headers', () => tryHeaders(platform))
  const payloads = await step('payloads', () => tryPayloads(platform))
  const fuzz = await step('fuzz', () => tryFuzz(platform, { seed, requests: quick ? 40 : 1_000 }))
  const roles = await step('roles', () => tryRoles(platform))
  const leaks = await step('leaks', () => findLeaks(platform))
  print('')
  print(`${backend}:`)
  for (const line of formatMarks(marks)) print(line)
  print('')
  return {
    marks,
    report: {
      backend,
      urls: urls?.urls ?? 0,
      connectionsMade: urls?.connectionsMade ?? 0,
      responses: responders?.responses ?? 0,
      slotsLeaked: responders?.slotsLeaked ?? 0,
      headers: headers?.headers ?? 0,
      payloads: (payloads?.payloads ?? 0) + (fuzz?.requests ?? 0),
      routesTimesRoles: roles?.routesTimesRoles ?? 0,
      leaks: leaks?.leaks ?? 0,
    },
  }
}

function chooseBackends(name: string | undefined): Backend[] {
  if (name === 'postgres' || name === 'redis') return [name]
  if (name !== undefined) throw new Error(`--backend is ${name}: it must be postgres or redis.`)
  if (ownRedisAvailable()) return ['postgres', 'redis']
  print('There is no redis-server here: the Redis backend is left out.')
  return ['postgres']
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

import { startDnsServer } from './dns-server.ts'
import { findLeaks } from './find-leaks.ts'
import type { Guard, Part } from './guards.ts'
import type { Mark } from './mark.ts'
import { type Cost, measureCost } from './measure-cost.ts'
import { type Backend, type Platform, startPlatform } from './start-platform.ts'
import { tryFuzz } from './try-fuzz.ts'
import { tryHeaders } from './try-headers.ts'
import { tryLimits } from './try-limits.ts'
import { tryPayloads } from './try-payloads.ts'
import { tryResponders } from './try-responders.ts'
import { tryRoles } from './try-roles.ts'
import { tryUrls } from './try-urls.ts'
import { zone } from './url-inputs.ts'

export interface RunOptions {
  backend: Backend
  parts: readonly Part[]
  isQuick: boolean
  seed: number
  /** Is taken out of the processes of the platform. */
  without?: Guard | undefined
  /** Called with what is worth a line. */
  say: (line: string) => void
  /** Called with what came of each hostile responder. */
  sayMore: (line: string) => void
}

/** Counts of a run, for its line of JSON. */
interface Report {
  backend: Backend
  urls: number
  connectionsMade: number
  responses: number
  slotsLeaked: number
  headers: number
  payloads: number
  routesTimesRoles: number
  leaks: number
  cost?: Cost
}

/** Runs the parts on a platform of their own, one after the other. */
export async function runParts(options: RunOptions): Promise<{ marks: Mark[]; report: Report }> {
  const { backend, parts, isQuick, seed, without, say, sayMore } = options
  await using stack = new AsyncDisposableStack()
  const dns = await startDnsServer(zone)
  stack.defer(() => dns.close())
  const platform = await startPlatform({ backend, dnsPort: dns.port, without })
  stack.defer(() => platform.close())
  const marks: Mark[] = []
  const step = async <Result extends { marks: Mark[] }>(
    name: Part,
    act: (platform: Platform) => Promise<Result>,
  ): Promise<Result | undefined> => {
    if (!parts.includes(name)) return undefined
    const startedAt = Date.now()
    const result = await act(platform)
    marks.push(...result.marks)
    say(`${backend}: ${name}, ${((Date.now() - startedAt) / 1_000).toFixed(1)} s`)
    return result
  }
  const urls = await step('urls', tryUrls)
  const responders = await step('responders', () =>
    tryResponders(platform, {
      requests: isQuick ? 10 : 1_000,
      badCertificates: isQuick ? 100 : 10_000,
      only: without?.responders,
      isMemoryJudged: !isQuick,
      say: sayMore,
    }),
  )
  const headers = await step('headers', tryHeaders)
  const payloads = await step('payloads', tryPayloads)
  const fuzz = await step('fuzz', () => tryFuzz(platform, { seed, requests: isQuick ? 40 : 1_000 }))
  const roles = await step('roles', tryRoles)
  await step('limits', tryLimits)
  const leaks = await step('leaks', findLeaks)
  const cost = await step('cost', () =>
    measureCost(platform, {
      posts: isQuick ? 200 : 2_000,
      rounds: isQuick ? 5 : 21,
      deliveries: isQuick ? 200 : 4_000,
      isJudged: !isQuick,
    }),
  )
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
      ...(cost !== undefined && { cost: cost.cost }),
    },
  }
}

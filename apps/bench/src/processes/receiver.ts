// Takes every POST, verifies nothing, and notes what came and when.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answerCalls, sharedNowMs } from './call-process.ts'

/** What came since the last look, by `webhook-id`; `doubled`: POSTs of what had come to that path before. */
export interface Arrivals {
  ids: string[]
  /** By the shared clock, of the last path where there are several. */
  atMs: Float64Array
  deliveries: number
  doubled: number
  /** Of the very first delivery; NaN of none. */
  firstAtMs: number
}

let arrivals = new Map<string, Map<string, number>>()
let deliveries = 0
let doubled = 0
let firstAtMs = Number.NaN

const server = createServer((request, response) => {
  request.resume()
  request.on('end', () => {
    const id = request.headers['webhook-id'] as string | undefined
    // The bare loop sends none that are to be counted.
    if (id !== undefined && !id.startsWith('bare')) note(id, request.url ?? '')
    response.writeHead(204).end()
  })
})
server.keepAliveTimeout = 60_000

function note(id: string, path: string): void {
  let paths = arrivals.get(id)
  if (paths === undefined) {
    paths = new Map()
    arrivals.set(id, paths)
  }
  if (paths.has(path)) {
    doubled += 1
    return
  }
  const nowMs = sharedNowMs()
  if (deliveries === 0) firstAtMs = nowMs
  paths.set(path, nowMs)
  deliveries += 1
}

answerCalls({
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  },
  count: () => deliveries,
  take(): Arrivals {
    const ids = [...arrivals.keys()]
    const atMs = Float64Array.from(arrivals.values(), (paths) => Math.max(...paths.values()))
    const taken = { ids, atMs, deliveries, doubled, firstAtMs }
    arrivals = new Map()
    deliveries = 0
    doubled = 0
    firstAtMs = Number.NaN
    return taken
  },
})

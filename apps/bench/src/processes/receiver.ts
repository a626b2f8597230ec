// Takes every POST, verifies nothing, and notes what came and when; or takes it and does not answer.
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { answerCalls, sharedNowMs } from './call-process.ts'
import { UNCOUNTED } from './uncounted.ts'

/** What came since the last look, by `webhook-id`; `doubled`: POSTs of what had come to that path before. */
export interface Arrivals {
  ids: string[]
  /** By the shared clock, of the last path where there are several. */
  atMs: Float64Array
  /** Milliseconds from the first path to the last one. */
  spreadsMs: Float64Array
  deliveries: number
  doubled: number
  /** Of the very first delivery; NaN of none. */
  firstAtMs: number
}

/** What comes to paths that begin so is never noted, and not answered while `held` is there. */
let hangingPath: string | undefined
let held: Set<ServerResponse> | undefined
let arrivals = new Map<string, Map<string, number>>()
let deliveries = 0
let doubled = 0
let firstAtMs = Number.NaN

const server = createServer((request, response) => {
  request.resume()
  request.on('end', () => {
    const path = request.url ?? ''
    if (hangingPath !== undefined && path.startsWith(hangingPath)) return hangOrAnswer(response)
    const id = request.headers['webhook-id'] as string | undefined
    if (id !== undefined && !id.startsWith(UNCOUNTED)) note(id, path)
    response.writeHead(204).end()
  })
})
server.keepAliveTimeout = 60_000

function hangOrAnswer(response: ServerResponse): void {
  if (held === undefined) {
    response.writeHead(204).end()
    return
  }
  const waiting = held.add(response)
  // The sender gave up.
  response.once('close', () => waiting.delete(response))
}

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

/** Linux answers on all of 127.0.0.0/8, and a host of its own is an origin of its own. */
async function listenOnLoopback(at: number): Promise<string> {
  const address = `127.1.${at >> 8}.${at & 255}`
  const { port } = server.address() as AddressInfo
  const further = createTcpServer((socket) => server.emit('connection', socket))
  await new Promise<void>((resolve, reject) => further.once('error', reject).listen(port, address, resolve))
  return `http://${address}:${port}`
}

answerCalls({
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  },
  listenOnMore: (count: number): Promise<string[]> =>
    Promise.all(Array.from({ length: count }, (_, at) => listenOnLoopback(at))),
  hang(path: string): void {
    hangingPath = path
    held ??= new Set()
  },
  letGo(): void {
    for (const response of held ?? []) response.writeHead(204).end()
    held = undefined
  },
  count: () => deliveries,
  take(): Arrivals {
    const ids = [...arrivals.keys()]
    const atMs = Float64Array.from(arrivals.values(), (paths) => Math.max(...paths.values()))
    const spreadsMs = Float64Array.from(
      arrivals.values(),
      (paths, at) => atMs[at]! - Math.min(...paths.values()),
    )
    const taken = { ids, atMs, spreadsMs, deliveries, doubled, firstAtMs }
    arrivals = new Map()
    deliveries = 0
    doubled = 0
    firstAtMs = Number.NaN
    return taken
  },
})

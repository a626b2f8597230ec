import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { verify, WebhookVerificationError } from '@posthorn/signing'
import { deliveryKey, type Received } from './verdict.ts'

/** How the receiver behaves. */
export type Behaviour =
  | { kind: 'taking'; delayMs?: number }
  | { kind: 'answering'; status: number; headers?: Record<string, string>; delayMs?: number }
  /** Cuts the connection when the POST has arrived. */
  | { kind: 'resetting' }
  /** Never answers. */
  | { kind: 'silent' }
  /** Sends these bytes in the place of an answer. */
  | { kind: 'raw'; answer(): RawAnswer }

export interface RawAnswer {
  bytes: Buffer
  /** It says 2xx, in a way that a sender can rely on. */
  takes: boolean
}

interface ReceivedEntry extends Received {
  /** What was answered to the POSTs that were not taken, for the way of a lost message. */
  refusals: string[]
  /** When the others were, for that of a duplicate. */
  takenAt: number[]
}

/** A receiver with a ledger: what came, whether it verified, and what it was answered. */
export interface LedgerReceiver {
  url: string
  ledger: Map<string, ReceivedEntry>
  /** Endpoints are paths: `/0`, `/1`, … */
  trust(path: string, endpoint: { id: string; secret: string }): void
  /** Towards everybody, or at one path instead of that. */
  behave(behaviour: Behaviour, path?: string): void
  /**
   * Holds the next POSTs back, at most `count`; `held` resolves when so many are held, or after `boundMs`.
   * `release` lets them be taken.
   */
  hold(count: number, boundMs?: number): { held: Promise<void>; release(): void }
  /** Resolves when the next POST was taken, or after `boundMs`. */
  nextTaken(boundMs?: number): Promise<void>
  /** Cuts what is open and refuses what comes, until `open`. */
  shut(): Promise<void>
  open(): Promise<void>
  close(): Promise<void>
}

export interface ReceiverEvents {
  /** @returns whether the body holds the data that was emitted under this id */
  isUnaltered(id: string, body: Buffer): boolean
  onTaken(key: string): void
  /** A POST has come that will be taken, perhaps after a delay. */
  onTaking?(key: string): void
}

/** A worker whose clock is an hour off signs with its own time: that is not what is looked at here. */
const TOLERANCE_S = 2 * 3_600

export async function startLedgerReceiver(events: ReceiverEvents): Promise<LedgerReceiver> {
  const ledger = new Map<string, ReceivedEntry>()
  const endpoints = new Map<string, { id: string; secret: string }>()
  const sockets = new Set<Socket>()
  const takenListeners = new Set<() => void>()
  const behaviours = new Map<string, Behaviour>()
  let behaviour: Behaviour = { kind: 'taking' }
  let holding: { left: number; until: Promise<void>; onHeld(): void } | undefined

  const server = createServer((request, response) => {
    receive(request, response).catch(() => response.destroy())
  })
  server.keepAliveTimeout = 60_000
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
  })

  async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    const endpoint = endpoints.get(request.url ?? '')
    const id = String(request.headers['webhook-id'])
    const entry = entryOf(id, endpoint?.id ?? `unknown ${request.url}`)
    entry.posts += 1
    if (endpoint === undefined || !isVerified(request, body, endpoint.secret)) entry.unverified += 1
    if (!events.isUnaltered(id, body)) entry.altered += 1
    await answer(entry, request, response)
  }

  async function answer(
    entry: ReceivedEntry,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const current = behaviours.get(request.url ?? '') ?? behaviour
    if (holding !== undefined && holding.left > 0) {
      holding.left -= 1
      if (holding.left === 0) holding.onHeld()
      await holding.until
    }
    if (current.kind === 'taking') {
      events.onTaking?.(deliveryKey(entry.id, entry.endpoint))
      if (current.delayMs !== undefined) await delay(current.delayMs)
      take(entry, !request.socket.destroyed)
      response.writeHead(204).end()
      return
    }
    if (current.kind === 'raw') {
      const { bytes, takes } = current.answer()
      if (takes) take(entry, !request.socket.destroyed)
      else
        entry.refusals.push(`${new Date().toISOString()} ${JSON.stringify(bytes.toString('latin1', 0, 80))}`)
      request.socket.end(bytes)
      return
    }
    entry.refusals.push(`${new Date().toISOString()} ${describeBehaviour(current)}`)
    switch (current.kind) {
      case 'answering':
        if (current.delayMs !== undefined) await delay(current.delayMs)
        response.writeHead(current.status, current.headers).end('refused')
        return
      case 'resetting':
        request.socket.resetAndDestroy()
        return
      case 'silent':
        return
    }
  }

  /** A sender that is gone does not hear that it was taken, and has to come again. */
  function take(entry: ReceivedEntry, isHeard: boolean): void {
    entry.taken += 1
    entry.takenAt.push(Date.now())
    if (!isHeard) return
    entry.answered += 1
    events.onTaken(deliveryKey(entry.id, entry.endpoint))
    for (const listener of takenListeners) listener()
  }

  function entryOf(id: string, endpoint: string): ReceivedEntry {
    const key = deliveryKey(id, endpoint)
    let entry = ledger.get(key)
    if (entry === undefined) {
      entry = {
        id,
        endpoint,
        posts: 0,
        taken: 0,
        answered: 0,
        unverified: 0,
        altered: 0,
        refusals: [],
        takenAt: [],
      }
      ledger.set(key, entry)
    }
    return entry
  }

  const listen = (port: number) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject)
        resolve()
      })
    })
  const shut = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      for (const socket of sockets) socket.resetAndDestroy()
    })
  await listen(0)
  const { port } = server.address() as AddressInfo

  return {
    url: `http://127.0.0.1:${port}`,
    ledger,
    trust(path, endpoint) {
      endpoints.set(path, endpoint)
    },
    behave(next, path) {
      if (path === undefined) behaviour = next
      else behaviours.set(path, next)
    },
    hold(count, boundMs = 3_000) {
      const held = Promise.withResolvers<void>()
      const until = Promise.withResolvers<void>()
      const bound = setTimeout(held.resolve, boundMs)
      const mine = { left: count, until: until.promise, onHeld: held.resolve }
      holding = mine
      return {
        held: held.promise,
        release() {
          clearTimeout(bound)
          if (holding === mine) holding = undefined
          held.resolve()
          until.resolve()
        },
      }
    },
    nextTaken: (boundMs = 3_000) =>
      new Promise((resolve) => {
        const done = () => {
          takenListeners.delete(done)
          clearTimeout(bound)
          resolve()
        }
        const bound = setTimeout(done, boundMs)
        takenListeners.add(done)
      }),
    shut,
    open: () => listen(port),
    close: () => (server.listening ? shut() : Promise.resolve()),
  }
}

function isVerified(request: IncomingMessage, body: Buffer, secret: string): boolean {
  try {
    verify(body, request.headers, secret, { toleranceS: TOLERANCE_S })
    return true
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false
    throw error
  }
}

function describeBehaviour(behaviour: Behaviour): string {
  return behaviour.kind === 'answering' ? `answered ${behaviour.status}` : behaviour.kind
}

import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

export type ReceivedRequest = {
  method: string
  /** With the query string. */
  path: string
  headers: IncomingHttpHeaders
  /** As they came over the wire: name, value, name, value. */
  rawHeaders: string[]
  /** The exact bytes of the body. */
  body: Buffer
  receivedAt: Date
}

export type Answer = {
  /** 200 when left out. */
  status?: number
  headers?: Record<string, string>
  body?: string | Buffer
  /** Waits before the answer begins. */
  delayMs?: number
  /** Waits for this before the answer begins; see Receiver.hold(). */
  until?: Promise<unknown>
  /** Cuts the connection instead of answering. */
  hangUp?: boolean
}

export type AnswerHandler = (request: ReceivedRequest, index: number) => Answer | Promise<Answer>

export type Receiver = {
  url: string
  port: number
  /** Every request whose body arrived whole, in that order. */
  requests: ReceivedRequest[]
  /** Sets what is answered from now on; `{ status: 200 }` before the first call. */
  answer(answer: Answer | AnswerHandler): void
  /** Holds every request from now on unanswered, until release() is called. */
  hold(): { release(): void }
  /** Resolves with all requests as soon as there are `count`, or with the first that `predicate` accepts. */
  waitFor(count: number, timeoutMs?: number): Promise<ReceivedRequest[]>
  waitFor(predicate: (request: ReceivedRequest) => boolean, timeoutMs?: number): Promise<ReceivedRequest>
  close(): Promise<void>
}

type Waiter = { settle(): boolean }

/** A real HTTP server on 127.0.0.1 that records what it is sent. */
export async function startReceiver(
  options: { port?: number; answer?: Answer | AnswerHandler } = {},
): Promise<Receiver> {
  const requests: ReceivedRequest[] = []
  const waiters = new Set<Waiter>()
  let current: Answer | AnswerHandler = options.answer ?? { status: 200 }
  let held: Promise<void> | undefined

  const server = createServer((incoming, response) => {
    record(incoming).then(
      (request) => reply(request, response),
      () => response.destroy(), // the sender went away with its body half sent
    )
  })

  async function record(incoming: IncomingMessage): Promise<ReceivedRequest> {
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk as Buffer)
    const request = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers: incoming.headers,
      rawHeaders: incoming.rawHeaders,
      body: Buffer.concat(chunks),
      receivedAt: new Date(),
    }
    requests.push(request)
    for (const waiter of waiters) if (waiter.settle()) waiters.delete(waiter)
    return request
  }

  async function reply(request: ReceivedRequest, response: ServerResponse): Promise<void> {
    const hold = held
    const answer = typeof current === 'function' ? await current(request, requests.length - 1) : current
    await hold
    if (answer.delayMs !== undefined) await delay(answer.delayMs)
    await answer.until
    if (answer.hangUp) {
      response.destroy()
      return
    }
    response.writeHead(answer.status ?? 200, answer.headers)
    response.end(answer.body)
  }

  function waitFor(
    wanted: number | ((request: ReceivedRequest) => boolean),
    timeoutMs = 60_000,
  ): Promise<ReceivedRequest & ReceivedRequest[]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiters.delete(waiter)
        const what = typeof wanted === 'number' ? `${wanted} requests` : 'a certain request'
        reject(new Error(`waited ${timeoutMs} ms in vain for ${what}; ${requests.length} came`))
      }, timeoutMs)
      const waiter: Waiter = {
        settle() {
          const found =
            typeof wanted === 'function'
              ? requests.find(wanted)
              : requests.length >= wanted
                ? [...requests]
                : undefined
          if (found === undefined) return false
          clearTimeout(timer)
          resolve(found as ReceivedRequest & ReceivedRequest[])
          return true
        },
      }
      if (!waiter.settle()) waiters.add(waiter)
    })
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    answer(answer) {
      current = answer
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      return {
        release() {
          if (held === promise) held = undefined
          resolve()
        },
      }
    },
    waitFor,
    close() {
      return new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
    },
  }
}

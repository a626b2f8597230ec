import { once } from 'node:events'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { ALLOWED_ADDRESS } from './addresses.ts'
import type { Responder } from './responders.ts'

export interface RunningResponder {
  responder: Responder
  url: string
  /** Whole requests that came in. */
  requests: number
  /** The bytes of the last one. */
  lastRequest: string
  /** Open connections. */
  readonly open: number
  close(): Promise<void>
}

let started = 0

export async function startResponder(responder: Responder): Promise<RunningResponder> {
  const { tls, onConnection, onRequest } = responder
  const open = new Set<Socket>()
  const server: Server =
    tls === undefined
      ? createTcpServer()
      : createTlsServer({ ...tls, ALPNProtocols: tls.ALPNProtocols ?? ['http/1.1'] })
  const running: RunningResponder = {
    responder,
    url: '',
    requests: 0,
    lastRequest: '',
    get open() {
      return open.size
    },
    close,
  }
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket)).on('error', () => {})
    onConnection?.(socket)
  })
  server.on('tlsClientError', () => {})
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    let pending = ''
    socket.on('error', () => {})
    socket.on('data', (data: Buffer) => {
      pending += data.toString('latin1')
      for (let end = requestEnd(pending); end !== undefined; end = requestEnd(pending)) {
        running.requests += 1
        running.lastRequest = pending.slice(0, end)
        pending = pending.slice(end)
        onRequest(socket)
      }
    })
  })
  await once(server.listen(0, ALLOWED_ADDRESS), 'listening')
  const { port } = server.address() as AddressInfo
  const isTls = tls !== undefined || responder.isTlsByName === true
  started += 1
  running.url = isTls
    ? `https://responder-${started}.abuse.example:${port}/`
    : `http://${ALLOWED_ADDRESS}:${port}/`

  async function close(): Promise<void> {
    const closed = once(server, 'close')
    server.close()
    for (const socket of open) socket.destroy()
    await closed
  }
  return running
}

function requestEnd(text: string): number | undefined {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd === -1) return undefined
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(text.slice(0, headEnd + 2))?.[1] ?? 0)
  const end = headEnd + 4 + length
  return text.length >= end ? end : undefined
}

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'

/** A loopback server that speaks bytes, so that it can say what no HTTP server would. */
export interface RawServer {
  url: string
  port: number
  /** Connections accepted so far. */
  accepted: number
  /** Connections open now. */
  open: Set<Socket>
  /** All bytes received so far, as latin1. */
  received: string
  close(): Promise<void>
}

/** `onRequest` is called when a whole request has come in, with its head and body. */
export async function startRawServer(
  onRequest: (socket: Socket, request: string) => void,
  options: { tls?: TlsOptions; onConnection?: (socket: Socket) => void } = {},
): Promise<RawServer> {
  const raw: RawServer = { url: '', port: 0, accepted: 0, open: new Set(), received: '', close }
  const server: Server = options.tls === undefined ? createTcpServer() : createTlsServer(options.tls)
  server.on('connection', (socket: Socket) => {
    raw.accepted += 1
    raw.open.add(socket)
    socket.on('close', () => raw.open.delete(socket)).on('error', () => {})
  })
  server.on(options.tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    let pending = ''
    options.onConnection?.(socket)
    socket.on('error', () => {})
    socket.setEncoding('latin1').on('data', (text: string) => {
      raw.received += text
      pending += text
      for (let end = requestEnd(pending); end !== undefined; end = requestEnd(pending)) {
        const request = pending.slice(0, end)
        pending = pending.slice(end)
        onRequest(socket, request)
      }
    })
  })
  server.on('tlsClientError', () => {})
  await once(server.listen(0, '127.0.0.1'), 'listening')
  raw.port = (server.address() as AddressInfo).port
  raw.url = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${raw.port}/hooks?a=1`

  async function close(): Promise<void> {
    const closed = once(server, 'close')
    server.close()
    for (const socket of raw.open) socket.destroy()
    await closed
  }
  return raw
}

/** An answer with a right content-length. */
export function answer(status: number, body = '', headers = ''): string {
  return `HTTP/1.1 ${status} Word\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

/** Key and certificate made for these tests alone: `localhost`, `receiver.test` and 127.0.0.1, until 2120. */
export function testCertificate(name: 'localhost' | 'expired' = 'localhost'): { key: Buffer; cert: Buffer } {
  const read = (file: string) => readFileSync(new URL(`./fixtures/${file}`, import.meta.url))
  return { key: read('localhost-key.pem'), cert: read(`${name}-cert.pem`) }
}

function requestEnd(text: string): number | undefined {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd === -1) return undefined
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(text.slice(0, headEnd + 2))?.[1] ?? 0)
  const end = headEnd + 4 + length
  return text.length >= end ? end : undefined
}

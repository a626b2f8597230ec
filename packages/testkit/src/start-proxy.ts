import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Transform } from 'node:stream'

/** A TCP proxy that a test can cut, restore and slow down: the network between the API and its database. */
export interface DatabaseProxy {
  /** The same URL, through the proxy. */
  url: string
  /** Resets what is open and refuses what comes. */
  cut(): Promise<void>
  restore(): Promise<void>
  /** From now on every piece of data takes this much longer, in both directions; 0 ends it. */
  slow(delayMs: number): void
  close(): Promise<void>
}

export async function startProxy(targetUrl: string): Promise<DatabaseProxy> {
  const target = new URL(targetUrl)
  const sockets = new Set<Socket>()
  let delayMs = 0
  const delayed = () =>
    new Transform({
      transform(chunk, _encoding, done) {
        if (delayMs > 0) setTimeout(done, delayMs, null, chunk)
        else done(null, chunk)
      },
    })
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
    client.pipe(delayed()).pipe(upstream).pipe(delayed()).pipe(client)
  })
  const listen = (port: number) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', () => resolve())
    })
  const cut = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      for (const socket of sockets) socket.resetAndDestroy()
    })
  await listen(0)
  const { port } = server.address() as AddressInfo
  const url = new URL(targetUrl)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return {
    url: url.href,
    cut,
    restore: () => listen(port),
    slow(ms) {
      delayMs = ms
    },
    close: () => (server.listening ? cut() : Promise.resolve()),
  }
}

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { ALLOWED_ADDRESS } from './addresses.ts'

/** Listeners that nobody may reach, and beside them one that deliveries may go to, all on one port. */
export interface Canaries {
  port: number
  /** Where connections came in that should not have. */
  reached: string[]
  /** What was written there. */
  told: string[]
  /** Requests that the allowed one got. */
  received: number
  close(): Promise<void>
}

const NOT_TO_BE_REACHED = ['127.0.0.1', '127.0.0.2', '127.1.2.3', '127.76.255.255', '127.255.255.254', '::1']

/** Whoever connects has so long to say something. */
const LISTEN_MS = 2_000

export async function startCanaries(port: number): Promise<Canaries> {
  const canaries: Canaries = { port, reached: [], told: [], received: 0, close }
  const servers: Server[] = []
  const open = new Set<Socket>()
  const listen = async (address: string, onConnection: (socket: Socket) => void) => {
    const server = createServer((socket) => {
      open.add(socket)
      socket.on('error', () => {}).on('close', () => open.delete(socket))
      onConnection(socket)
    })
    await once(server.listen({ port, host: address, ipv6Only: true }), 'listening')
    servers.push(server)
  }
  for (const address of NOT_TO_BE_REACHED) {
    await listen(address, (socket) => {
      canaries.reached.push(`${address} from port ${socket.remotePort}`)
      socket.setTimeout(LISTEN_MS, () => socket.destroy())
      socket.once('data', (data) => {
        canaries.told.push(`${address}: ${data.toString('latin1', 0, 60)}`)
        socket.destroy()
      })
    })
  }
  await listen(ALLOWED_ADDRESS, (socket) => {
    socket.once('data', () => {
      canaries.received += 1
      socket.end('HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n')
    })
  })

  async function close(): Promise<void> {
    for (const socket of open) socket.destroy()
    await Promise.all(servers.map((server) => once(server.close(), 'close')))
  }
  return canaries
}

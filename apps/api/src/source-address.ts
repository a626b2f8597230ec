import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'

/** Where the request came from: behind trusted proxies, what they say, if it is an address at all. */
export function sourceAddress(request: FastifyRequest): string {
  return isIP(request.ip) === 0 ? (request.socket.remoteAddress ?? '') : request.ip
}

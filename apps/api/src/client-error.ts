import type { Socket } from 'node:net'
import type { ProblemCode } from '@posthorn/contracts'
import { problemOf } from './problem-details.ts'

/** Answers what Node's parser refuses, before there is a request: as problems too. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET') socket.destroy()
  // Answered already: what still comes is passed over until the socket is destroyed.
  if (socket.destroyed || !socket.writable) return
  const [code, detail] = meaningOf(error.code)
  const problem = problemOf(code, detail)
  const body = JSON.stringify(problem)
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_TEXTS[problem.status] ?? 'Bad Request'}\r\n` +
      'content-type: application/problem+json; charset=utf-8\r\n' +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
  // Not at once: what was sent and not read would take the answer with it (RFC 9112, section 9.6).
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
}

const LINGER_MS = 1_000

const STATUS_TEXTS: Record<number, string> = {
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}

/** Codes of Node and llhttp. https://nodejs.org/api/http.html#event-clienterror */
function meaningOf(code: string | undefined): [ProblemCode, string] {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return ['headers_too_large', 'The headers may have 16384 bytes together. Send fewer or shorter ones.']
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return ['request_timeout', 'The request did not arrive whole in time. Send it again at once.']
    default:
      return ['invalid_request', 'The request could not be read as HTTP/1.1. Check what sends it.']
  }
}

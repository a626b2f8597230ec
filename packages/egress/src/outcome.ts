import { errors } from 'undici'
import { ANSWER_TOO_LARGE } from './bound-answers.ts'
import { ConnectError, type ConnectFailureCode } from './connector.ts'

/** Milliseconds. The first three are there only when the request opened a new connection. */
export interface PostTimings {
  dnsMs?: number
  connectMs?: number
  tlsMs?: number
  /** From the call to the first headers of the answer. */
  firstByteMs?: number
  totalMs: number
}

export type PostFailureCode =
  | ConnectFailureCode
  /** The deadline passed before the headers of the answer. */
  | 'timeout'
  /** The deadline passed in the body of the answer. */
  | 'body_timeout'
  /** The answer is not HTTP/1.1. */
  | 'invalid_response'
  | 'headers_too_large'
  /** The request itself cannot be sent: a bad URL or header. Nothing was tried. */
  | 'invalid_request'
  /** Called off by `signal` or `close()`. */
  | 'aborted'

export type PostOutcome =
  | {
      kind: 'answered'
      /** As sent, 2xx or not; never a 1xx, and 3xx are not followed. */
      status: number
      /** Names in lower case, bytes read as latin1; the first 8 KiB. */
      headers: [name: string, value: string][]
      /** The first bytes as sent (also when compressed), up to `responseBytesMax`. */
      body: Buffer
      bodyTruncated: boolean
      durationMs: number
      timings: PostTimings
    }
  | {
      kind: 'failed'
      code: PostFailureCode
      /** A short text for the endpoint's owner: no address, no secret, no part of the URL. */
      detail: string
      /** The status, where the failure came after it. */
      status?: number
      durationMs: number
      timings: PostTimings
    }

export interface PostFailure {
  code: PostFailureCode
  detail: string
}

/** What an error of undici, of a socket or of the connector says about an attempt that got this `status`. */
export function failureOf(error: Error & { code?: string }, status: number | undefined): PostFailure {
  if (error instanceof ConnectError) return { code: error.failure, detail: error.message }
  // undici gives its parser's errors no code.
  if (error instanceof errors.HTTPParserError) return error.message.includes('EOF') ? cutShort : notHttp
  switch (error.code) {
    case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
      // Also undici's word for whatever is wrong in headers with a length, such as two lengths.
      return status === undefined ? notHttp : cutShort
    case 'UND_ERR_SOCKET':
      // Its words for an answer nobody asked for (100 Continue) and for an unasked switch of protocols.
      return error.message === 'bad response' || error.message === 'bad upgrade' ? notHttp : cutShort
    case 'ERR_ASSERTION':
      // How its parser ends on a status below 100.
      return notHttp
    case ANSWER_TOO_LARGE:
      return { code: 'invalid_response', detail: 'the answer goes on without an end' }
    case 'UND_ERR_HEADERS_OVERFLOW':
      return { code: 'headers_too_large', detail: 'the headers of the answer are too large' }
    case 'UND_ERR_INVALID_ARG':
      return { code: 'invalid_request', detail: 'the URL or a header cannot be sent' }
    case 'UND_ERR_DESTROYED':
    case 'UND_ERR_CLOSED':
      return { code: 'aborted', detail: 'called off by a shutdown' }
    default:
      return { code: 'reset', detail: `the connection broke: ${error.code ?? 'unknown error'}` }
  }
}

const cutShort: PostFailure = {
  code: 'reset',
  detail: 'the connection was closed before the answer was complete',
}
const notHttp: PostFailure = {
  code: 'invalid_response',
  detail: 'the answer is not a valid HTTP/1.1 answer to a POST',
}

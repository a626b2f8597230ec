import { setTimeout as sleep } from 'node:timers/promises'
import { PosthornError, type PosthornErrorCode, type PosthornErrorDetails, type Problem } from './errors.ts'
import { createHttpClient, type HttpAnswer, parseApiUrl } from './http-client.ts'
import { parseRetryAfterMs, retryDelayMs } from './retry.ts'
import type {
  EmittedMessage,
  OutgoingMessage,
  RestOptions,
  SendLimits,
  SendOutcome,
  Transport,
} from './types.ts'

/** What one request did to one message. A failure becomes an error only when it is final. */
type Result =
  | { readonly kind: 'accepted'; readonly message: EmittedMessage }
  | {
      readonly kind: 'failed'
      readonly code: PosthornErrorCode
      readonly text: string
      readonly details: PosthornErrorDetails
      readonly retryAfterMs?: number | undefined
    }
type Failed = Extract<Result, { kind: 'failed' }>

/**
 * Sends over the REST API: one message to `POST /v1/messages`, several to `POST /v1/messages/batch`.
 * Retries keep the ids, and the API answers a known id with the message it has, so they never double.
 */
export function createRestTransport(options: RestOptions, limits: Required<SendLimits>): Transport {
  const url = parseApiUrl(options.url)
  if (typeof options.apiKey !== 'string' || !/^[\x21-\x7e]+$/.test(options.apiKey)) {
    throw new PosthornError('invalid_options', 'apiKey must be a string of printable ASCII, without spaces.')
  }
  const http = createHttpClient(url, options.apiKey)
  return {
    send,
    async close() {
      http.close()
    },
  }

  async function send(messages: readonly OutgoingMessage[], deadlineAtMs: number): Promise<SendOutcome[]> {
    const outcomes = new Map<OutgoingMessage, SendOutcome>()
    let remaining = messages
    for (let retry = 0; remaining.length > 0; retry += 1) {
      const answer = await postOnce(remaining, deadlineAtMs)
      if (!Array.isArray(answer) && isRefusedData(answer) && remaining.length > 1) {
        // One bad message made the API refuse the request: halves find it in few requests.
        const middle = Math.ceil(remaining.length / 2)
        const halves = [remaining.slice(0, middle), remaining.slice(middle)]
        for (const half of halves) {
          const halfOutcomes = await send(half, deadlineAtMs)
          half.forEach((message, index) => {
            outcomes.set(message, halfOutcomes[index]!)
          })
        }
        break
      }
      const results = Array.isArray(answer) ? answer : remaining.map(() => answer)
      const waitMs = retryDelayMs(retry, limits.retryDelayMs, Math.random(), longestRetryAfterMs(results))
      const mayRetry = retry < limits.retries && performance.now() + waitMs < deadlineAtMs
      const again: OutgoingMessage[] = []
      remaining.forEach((message, index) => {
        const result = results[index]!
        if (result.kind === 'accepted') outcomes.set(message, result)
        else if (result.details.retryable && mayRetry) again.push(message)
        else outcomes.set(message, refuse(message, result))
      })
      remaining = again
      if (remaining.length > 0) await sleep(waitMs)
    }
    return messages.map((message) => outcomes.get(message)!)
  }

  /** One result for each message, or one failure of the whole request. */
  async function postOnce(
    messages: readonly OutgoingMessage[],
    deadlineAtMs: number,
  ): Promise<Result[] | Failed> {
    const timeoutMs = Math.max(1, Math.min(limits.timeoutMs, deadlineAtMs - performance.now()))
    const answer =
      messages.length === 1
        ? await http.post('/v1/messages', messages[0]!.json, timeoutMs)
        : await http.post('/v1/messages/batch', toBatch(messages), timeoutMs)
    if (answer.kind === 'answered') return readAnswer(messages, answer)
    return {
      kind: 'failed',
      code: answer.code,
      text: `Posthorn at ${url.origin} cannot be reached: ${answer.reason}.`,
      details: { retryable: answer.code !== 'unexpected_response', cause: answer.cause },
    }
  }
}

function toBatch(messages: readonly OutgoingMessage[]): string {
  return `{"messages":[${messages.map((message) => message.json).join(',')}]}`
}

function readAnswer(messages: readonly OutgoingMessage[], answer: HttpAnswer): Result[] | Failed {
  const { status } = answer
  const body = parseJson(answer.text)
  if (status < 200 || status > 299) {
    return toFailed(status, body, parseRetryAfterMs(answer.retryAfter, Date.now()))
  }
  if (messages.length === 1)
    return [isEmittedMessage(body) ? { kind: 'accepted', message: body } : unexpected(status)]
  const retryAfterMs = parseRetryAfterMs(answer.retryAfter, Date.now())
  const items = isObject(body) && Array.isArray(body.data) ? body.data : []
  return messages.map((_, index) => {
    const item: unknown = items.length === messages.length ? items[index] : undefined
    if (isObject(item) && isEmittedMessage(item.message)) return { kind: 'accepted', message: item.message }
    if (isObject(item) && typeof item.status === 'number')
      return toFailed(item.status, item.error, retryAfterMs)
    return unexpected(status)
  })
}

function toFailed(status: number, body: unknown, retryAfterMs?: number): Failed {
  const problem: Problem | undefined = isObject(body) ? body : undefined
  const code = typeof problem?.code === 'string' ? problem.code : 'http_error'
  const said = [problem?.title, problem?.detail].filter((part) => typeof part === 'string').join(': ')
  return {
    kind: 'failed',
    code,
    text: said === '' ? `Posthorn answered ${status}.` : `Posthorn answered ${status}: ${said}`,
    details: { status, problem, retryable: [408, 425, 429].includes(status) || status >= 500 },
    retryAfterMs,
  }
}

function unexpected(status: number): Failed {
  return {
    kind: 'failed',
    code: 'unexpected_response',
    text: `The answer (${status}) is not one of Posthorn's: check url.`,
    details: { status },
  }
}

/** 400, 413 and 422 are about what was sent: with other messages the answer may be another. */
function isRefusedData({ details }: Failed): boolean {
  return [400, 413, 422].includes(details.status ?? 0)
}

function longestRetryAfterMs(results: readonly Result[]): number {
  return Math.max(0, ...results.map((result) => (result.kind === 'failed' ? (result.retryAfterMs ?? 0) : 0)))
}

function refuse(message: OutgoingMessage, { code, text, details }: Failed): SendOutcome {
  return { kind: 'refused', error: new PosthornError(code, text, { ...details, messageId: message.id }) }
}

function isEmittedMessage(value: unknown): value is EmittedMessage {
  return isObject(value) && typeof value.id === 'string'
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

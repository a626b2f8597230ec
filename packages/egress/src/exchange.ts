import type { Dispatcher } from 'undici'
import { ConnectError, type ConnectTimings } from './connector.ts'
import { failureOf, type PostFailure, type PostOutcome, type PostTimings } from './outcome.ts'

/** Bytes of answer headers that are kept, names and values together. */
const headerBytesMax = 8192
/** RFC 9110 allows any number of interim answers; a server that sends more than this plays for time. */
const interimAnswersMax = 16

export interface ExchangeOptions {
  responseBytesMax: number
  /** The timings of the connection that is being handed over in this tick, if one is. */
  takeConnectTimings: () => ConnectTimings | undefined
  /** Called exactly once. */
  onOutcome: (outcome: PostOutcome) => void
}

/**
 * One request and its answer, as an undici handler: a class because undici calls its methods, and because
 * one is made for each request. It gathers the answer within its limits and settles exactly once; what
 * undici says after that is not heard.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #options: ExchangeOptions
  readonly #startedAt = performance.now()
  #settled = false
  #controller: Dispatcher.DispatchController | undefined
  #connectTimings: ConnectTimings | undefined
  #interimAnswers = 0
  #status: number | undefined
  #firstByteAt: number | undefined
  #headers: Record<string, string | string[] | undefined> = {}
  #chunks: Buffer[] = []
  #bodyBytes = 0

  constructor(options: ExchangeOptions) {
    this.#options = options
  }

  /** Ends the exchange from our side; its connection is not used again. */
  cancel(failure: (phase: 'connecting' | 'waiting' | 'answering') => PostFailure): void {
    if (this.#settled) return
    const phase =
      this.#controller === undefined ? 'connecting' : this.#status === undefined ? 'waiting' : 'answering'
    this.#fail(failure(phase))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Cancelled in the queue: throwing here is how undici lets go of a request and keeps its connection.
    if (this.#settled) throw new Error('cancelled')
    this.#controller = controller
    this.#connectTimings = this.#options.takeConnectTimings()
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (this.#settled) return
    if (status < 200) {
      this.#interimAnswers += 1
      if (this.#interimAnswers > interimAnswersMax) {
        this.#fail({ code: 'invalid_response', detail: 'too many interim (1xx) answers' })
      }
      return
    }
    this.#status = status
    this.#firstByteAt = performance.now()
    this.#headers = headers
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#settled) return
    const room = this.#options.responseBytesMax - this.#bodyBytes
    this.#bodyBytes += chunk.length
    // Copied: a chunk is a view that would keep a whole read buffer (64 KiB) in memory.
    if (room > 0) this.#chunks.push(Buffer.from(chunk.length > room ? chunk.subarray(0, room) : chunk))
    if (chunk.length > room) {
      this.#answer(true)
      this.#hangUp()
    }
  }

  onResponseEnd(): void {
    this.#answer(false)
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#settled) return
    if (error instanceof ConnectError) this.#connectTimings = error.timings
    this.#settle({
      kind: 'failed',
      ...failureOf(error, this.#status),
      ...this.#statusIfAny(),
      ...this.#times(),
    })
  }

  #answer(bodyTruncated: boolean): void {
    if (this.#settled) return
    const body = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
    this.#settle({
      kind: 'answered',
      status: this.#status!,
      headers: boundHeaders(this.#headers),
      body,
      bodyTruncated,
      ...this.#times(),
    })
  }

  #fail(failure: PostFailure): void {
    this.#settle({ kind: 'failed', ...failure, ...this.#statusIfAny(), ...this.#times() })
    this.#hangUp()
  }

  #settle(outcome: PostOutcome): void {
    this.#settled = true
    this.#options.onOutcome(outcome)
  }

  #hangUp(): void {
    this.#controller?.abort(new Error('hung up'))
  }

  #statusIfAny(): { status?: number } {
    return this.#status === undefined ? {} : { status: this.#status }
  }

  #times(): { durationMs: number; timings: PostTimings } {
    const totalMs = performance.now() - this.#startedAt
    const firstByteMs = this.#firstByteAt === undefined ? undefined : this.#firstByteAt - this.#startedAt
    const timings = {
      ...this.#connectTimings,
      ...(firstByteMs !== undefined && { firstByteMs }),
      totalMs,
    }
    return { durationMs: totalMs, timings }
  }
}

function boundHeaders(headers: Record<string, string | string[] | undefined>): [string, string][] {
  const bounded: [string, string][] = []
  let bytes = 0
  for (const name of Object.keys(headers)) {
    const value = headers[name]
    for (const each of typeof value === 'string' ? [value] : (value ?? [])) {
      bytes += name.length + each.length
      if (bytes > headerBytesMax) return bounded
      bounded.push([name, each])
    }
  }
  return bounded
}

import { createCoalescer } from './coalesce.ts'
import { emit } from './emit.ts'
import { PosthornError } from './errors.ts'
import { type Hook, type HookOptions, hook } from './hook.ts'
import { createQueueTransport } from './queue-transport.ts'
import { createRestTransport } from './rest-transport.ts'
import type {
  AnyArgs,
  EmitOptions,
  EmittedMessage,
  EventName,
  OutgoingMessage,
  PosthornOptions,
  SendLimits,
} from './types.ts'

/**
 * A client of one Posthorn, typed by an event map: `new Posthorn<Events>({ url, apiKey })`. It connects at the
 * first emit. Keep one for the whole process, so that concurrent emits share requests.
 */
export class Posthorn<Events extends object = Record<string, unknown>> {
  readonly #send: (message: OutgoingMessage) => Promise<EmittedMessage>
  readonly #close: () => Promise<void>

  /** @throws {PosthornError} `invalid_options` */
  constructor(options: PosthornOptions) {
    const limits = parseLimits(options)
    const transport = options.queue
      ? createQueueTransport(options.queue, limits)
      : createRestTransport(options, limits)
    const coalescer = createCoalescer(transport, limits)
    this.#send = coalescer.send
    this.#close = coalescer.close
  }

  /**
   * Emits an event to the owner's endpoints; resolves when it is durable: committed by the API, or added
   * to the queue.
   *
   * @throws {PosthornError} with a stable `code`; `retryable` says whether trying later may help
   */
  emit<Name extends EventName<Events>>(
    type: Name,
    data: Events[Name],
    options: EmitOptions,
  ): Promise<EmittedMessage> {
    return emit(this.#send, type, data, options)
  }

  /**
   * Makes a function emit what it returns. The result is a plain wrapper, a TC39 method decorator and a legacy
   * (`experimentalDecorators`) method decorator in one: see {@link Hook} for what the function becomes.
   */
  hook<Name extends EventName<Events>, Args extends AnyArgs = AnyArgs>(
    type: Name,
    options: HookOptions<Args>,
  ): Hook<Events[Name], Args> {
    return hook((name, data, emitOptions) => emit(this.#send, name, data, emitOptions), type, options)
  }

  /** Refuses new events, waits for those under way, and releases sockets and connections. */
  close(): Promise<void> {
    return this.#close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function parseLimits(options: PosthornOptions): Required<SendLimits> {
  if (typeof options !== 'object' || options === null) {
    throw new PosthornError('invalid_options', 'Posthorn needs { url, apiKey } or { queue }.')
  }
  const { timeoutMs = 10_000, deadlineMs = 30_000, retries = 5, retryDelayMs = 100 } = options
  const limits = { timeoutMs, deadlineMs, retries, retryDelayMs }
  for (const [name, value] of Object.entries(limits)) {
    // Timers take 31 bits; what is longer fires at once.
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** 31) {
      throw new PosthornError('invalid_options', `${name} must be a whole number from 0.`)
    }
  }
  return limits
}

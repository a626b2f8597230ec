import type { PosthornError } from './errors.ts'

/** The names in an event map. */
export type EventName<Events extends object> = Extract<keyof Events, string>

/** Arguments of a hooked function. */
// biome-ignore lint/suspicious/noExplicitAny: parameters of owner() without a type are any, not an error
export type AnyArgs = any[]

/**
 * Event map of the module-level `emit` and `hook`. Add yours once, and they are typed by it:
 *
 *     declare module '@posthorn/emitter' {
 *       interface RegisteredEvents { 'pay_info.paid': { order_num: string } }
 *     }
 */
// biome-ignore lint/suspicious/noEmptyInterface: it is there to be filled by declaration merging
export interface RegisteredEvents {}

/** {@link RegisteredEvents}, or any name with any data while nothing is registered. */
export type DefaultEvents = [keyof RegisteredEvents] extends [never]
  ? Record<string, unknown>
  : RegisteredEvents

export interface EmitOptions {
  /** Whose endpoints get the event: the owner's `uid` or id. */
  readonly owner: string
  /** Your own id for the event, such as `order-1-paid`. Emitting again under it does not double the event. */
  readonly id?: string | undefined
  /** When it happened, as a Date or in ISO 8601. Default: when it is accepted. */
  readonly timestamp?: Date | string | undefined
}

/** An event that is durable. */
export interface EmittedMessage {
  /** Message id, `msg_…`. Over the queue, an id of your own is given back as it is. */
  readonly id: string
  /** The owner's id, `own_…`. Over the queue, the owner as you named it. */
  readonly owner: string
  readonly type: string
  /** ISO 8601. Absent over the queue, where the time of acceptance is not known yet. */
  readonly timestamp?: string
  /** How many endpoints will get it. Absent over the queue. */
  readonly deliveries?: number
}

export interface SendLimits {
  /** How long one request may take, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number
  /** How long one `emit` may take with all its retries, in milliseconds. Default 30,000. */
  readonly deadlineMs?: number
  /** How often a request is repeated after a failure that may pass. Default 5. */
  readonly retries?: number
  /** Mean wait before the first retry, in milliseconds; it doubles each time. Default 100. */
  readonly retryDelayMs?: number
}

/** Emit over the REST API. */
export interface RestOptions extends SendLimits {
  /** Where Posthorn listens, such as `https://hooks.example.com`. */
  readonly url: string | URL
  readonly apiKey: string
  readonly queue?: undefined
}

/** Emit straight into the platform's BullMQ queue. Needs `bullmq`, and `ioredis` or `pg`, to be installed. */
export interface QueueOptions extends SendLimits {
  readonly queue: QueueTarget
}

export type QueueTarget =
  | { readonly redisUrl: string; readonly databaseUrl?: undefined }
  | { readonly databaseUrl: string; readonly redisUrl?: undefined }

export type PosthornOptions = RestOptions | QueueOptions

/** A message that was checked and serialised, ready to be sent. */
export interface OutgoingMessage {
  readonly id: string
  /** Whether the application chose the id. */
  readonly ownId: boolean
  readonly owner: string
  readonly type: string
  readonly timestamp: string | undefined
  /** JSON text of the data. */
  readonly data: string
  /** JSON text of the whole message, as the API takes it. */
  readonly json: string
  /** Length of `json` in bytes. */
  readonly bytes: number
}

/** What became of one message. */
export type SendOutcome =
  | { readonly kind: 'accepted'; readonly message: EmittedMessage }
  | { readonly kind: 'refused'; readonly error: PosthornError }

/** A way to the platform. Outcomes come in the order of the messages; `send` itself does not reject. */
export interface Transport {
  /** @param deadlineAtMs time of `performance.now()` after which nobody waits for the outcome */
  send(messages: readonly OutgoingMessage[], deadlineAtMs: number): Promise<readonly SendOutcome[]>
  close(): Promise<void>
}

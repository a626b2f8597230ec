/** Queue that applications add to directly with the emitter's queue transport; workers take from it. */
export const EMIT_QUEUE = 'posthorn-emit'

/** Name of the one kind of job in it. */
export const EMIT_JOB = 'emit'

/**
 * How often a worker tries to accept a job: its messages are nowhere else, so it does not give up while
 * the database is away. What can never be accepted ends at the first attempt.
 */
export const EMIT_ATTEMPTS = 100_000

/** Name of the wait between those attempts, which the worker knows: BullMQ's own has no maximum. */
export const EMIT_BACKOFF = 'posthorn-emit'

/** Key prefix of every queue on Redis. The braces keep all keys in one slot of a cluster. */
export const QUEUE_PREFIX = '{posthorn}'

/** Schema of every queue on PostgreSQL. The platform makes and migrates it, the emitter never does. */
export const QUEUE_SCHEMA = 'posthorn_queue'

/** A message on its way to acceptance. Accepting it twice under one id gives the same message. */
export interface EmitJobMessage {
  /** Message id or the application's own id: the idempotency key. */
  id: string
  owner: string
  type: string
  /** ISO 8601; the time of acceptance where it is missing. */
  timestamp?: string
  /** JSON text of the event's data, serialised once by the emitter. */
  data: string
}

/** Data of a job: the messages that were emitted while the one before was being added. */
export interface EmitJob {
  messages: EmitJobMessage[]
}

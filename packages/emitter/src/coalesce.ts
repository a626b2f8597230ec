import { PosthornError } from './errors.ts'
import type { EmittedMessage, OutgoingMessage, SendOutcome, Transport } from './types.ts'

// Four requests at a time keep the platform's group commit busy; what comes meanwhile shares the next one.
const IN_FLIGHT_MAX = 4
// The API's limits are 1,000 messages and 4 MiB; a body this small also passes where only the 256 KiB
// for a single message are allowed, and its failure costs few messages.
const BATCH_MESSAGES_MAX = 1_000
const BATCH_BYTES_MAX = 200 * 1024
// While the platform is away, callers that do not wait would fill the memory.
const WAITING_BYTES_MAX = 64 * 1024 * 1024

interface Waiting {
  readonly message: OutgoingMessage
  readonly deadlineAtMs: number
  settled: boolean
  settle(outcome: SendOutcome): void
}

export interface Coalescer {
  /** Sends the message with others that wait; resolves when it is accepted. */
  send(message: OutgoingMessage): Promise<EmittedMessage>
  /** Takes nothing more, and resolves when everything taken has been answered. */
  close(): Promise<void>
}

/**
 * Lets concurrent emits share requests without a timer: a message goes at once while a slot is free; while
 * all slots are busy, messages gather, and go together when one frees.
 */
export function createCoalescer(transport: Transport, { deadlineMs }: { deadlineMs: number }): Coalescer {
  let waiting: Waiting[] = []
  let waitingBytes = 0
  let inFlight = 0
  let closing: Promise<void> | undefined
  let onIdle: (() => void) | undefined

  return {
    send(message) {
      const refusal =
        closing !== undefined ? closedError(message) : isFull(message) ? overloadedError(message) : undefined
      if (refusal) return Promise.reject(refusal)
      return new Promise((resolve, reject) => {
        waiting.push(createWaiting(message, deadlineMs, resolve, reject))
        waitingBytes += message.bytes
        fillSlots()
      })
    },
    close() {
      closing ??= drain().then(() => transport.close())
      return closing
    },
  }

  function isFull(message: OutgoingMessage): boolean {
    return waitingBytes > 0 && waitingBytes + message.bytes > WAITING_BYTES_MAX
  }

  function fillSlots(): void {
    while (inFlight < IN_FLIGHT_MAX && waiting.length > 0) {
      const batch = takeBatch()
      if (batch.length === 0) continue
      inFlight += 1
      void sendBatch(batch).finally(() => {
        inFlight -= 1
        fillSlots()
      })
    }
    if (inFlight === 0) onIdle?.()
  }

  function takeBatch(): Waiting[] {
    let count = 0
    let bytes = 0
    for (const { message } of waiting) {
      if (count === BATCH_MESSAGES_MAX || (count > 0 && bytes + message.bytes > BATCH_BYTES_MAX)) break
      count += 1
      bytes += message.bytes
    }
    const taken = waiting.slice(0, count)
    waiting = waiting.slice(count)
    waitingBytes -= bytes
    // Whoever ran into the deadline while waiting has been answered already.
    return taken.filter((entry) => !entry.settled)
  }

  async function sendBatch(batch: readonly Waiting[]): Promise<void> {
    const messages = batch.map((entry) => entry.message)
    const deadlineAtMs = batch.at(-1)!.deadlineAtMs
    try {
      const outcomes = await transport.send(messages, deadlineAtMs)
      batch.forEach((entry, index) => {
        entry.settle(outcomes[index]!)
      })
    } catch (cause) {
      // A transport answers with values; should it throw all the same, nobody may be left waiting.
      for (const { message, settle } of batch)
        settle({ kind: 'refused', error: transportError(message, cause) })
    }
  }

  async function drain(): Promise<void> {
    if (inFlight === 0) return
    await new Promise<void>((resolve) => {
      onIdle = resolve
    })
  }
}

function createWaiting(
  message: OutgoingMessage,
  deadlineMs: number,
  resolve: (message: EmittedMessage) => void,
  reject: (error: PosthornError) => void,
): Waiting {
  const entry: Waiting = {
    message,
    deadlineAtMs: performance.now() + deadlineMs,
    settled: false,
    settle(outcome) {
      if (entry.settled) return
      entry.settled = true
      clearTimeout(timer)
      if (outcome.kind === 'accepted') resolve(outcome.message)
      else reject(outcome.error)
    },
  }
  const timer = setTimeout(() => {
    entry.settle({ kind: 'refused', error: deadlineError(message, deadlineMs) })
  }, deadlineMs)
  return entry
}

function closedError({ id }: OutgoingMessage): PosthornError {
  return new PosthornError('closed', 'This Posthorn client was closed.', { messageId: id })
}

function overloadedError({ id }: OutgoingMessage): PosthornError {
  return new PosthornError('overloaded', `Events of ${WAITING_BYTES_MAX} bytes wait to be sent already.`, {
    retryable: true,
    messageId: id,
  })
}

function deadlineError({ id }: OutgoingMessage, deadlineMs: number): PosthornError {
  return new PosthornError(
    'timeout',
    `No answer within ${deadlineMs} ms. The event may have been accepted all the same: to be sure, emit it again under this error's messageId.`,
    { retryable: true, messageId: id },
  )
}

function transportError({ id }: OutgoingMessage, cause: unknown): PosthornError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new PosthornError('transport_error', `The event could not be sent: ${reason}`, {
    messageId: id,
    cause,
  })
}

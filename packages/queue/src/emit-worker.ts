import { EMIT_QUEUE, type EmitJob } from '@posthorn/contracts'
import { UnrecoverableError, type Worker } from 'bullmq'
import type { QueueBackend } from './backend.ts'

/** Thrown by `process`: running the job again would not help. It is kept among the failed ones, without payloads. */
export class HopelessJobError extends UnrecoverableError {}

/** Takes the events that applications put straight into the queue (`new Posthorn({ queue })`). */
export function createEmitWorker(
  backend: QueueBackend,
  options: { concurrency: number },
  process: (job: EmitJob) => Promise<void>,
): Worker {
  return backend.createWorker<EmitJob>(
    EMIT_QUEUE,
    async (job) => {
      try {
        await process(job.data)
      } catch (error) {
        if (error instanceof HopelessJobError) await job.updateData(withoutPayloads(job.data))
        throw error
      }
    },
    options,
  )
}

/** What was accepted can be expunged in the database; a copy that stays in the queue could not. */
function withoutPayloads({ messages }: EmitJob): EmitJob {
  return { messages: messages.map((message) => ({ ...message, data: '' })) }
}

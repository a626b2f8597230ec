import { EMIT_QUEUE, type EmitJob } from '@posthorn/contracts'
import type { Worker } from 'bullmq'
import type { QueueBackend } from './backend.ts'

/** Takes the events that applications put straight into the queue (`new Posthorn({ queue })`). */
export function createEmitWorker(
  backend: QueueBackend,
  options: { concurrency: number },
  process: (job: EmitJob) => Promise<void>,
): Worker {
  return backend.createWorker<EmitJob>(EMIT_QUEUE, (job) => process(job.data), options)
}

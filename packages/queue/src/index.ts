export { createQueueBackend, type QueueBackend, type QueueConnection } from './backend.ts'
export {
  createDeliveryQueue,
  createDeliveryWorker,
  type DeliveryQueue,
  QueueUnavailableError,
} from './delivery-queue.ts'
export { createEmitWorker, HopelessJobError } from './emit-worker.ts'

export { createQueueBackend, QUEUE_POOL_MAX, type QueueBackend, type QueueConnection } from './backend.ts'
export {
  createDeliveryQueue,
  createDeliveryWorker,
  createSurplusWorker,
  type DeliveryQueue,
  QueueUnavailableError,
} from './delivery-queue.ts'
export { createEmitWorker, HopelessJobError } from './emit-worker.ts'

export {
  type Accept,
  type AcceptContext,
  type AcceptedMessage,
  type AcceptResult,
  createAccept,
  type EmittedEvent,
} from './accept.ts'
export { acceptJob, RefusedMessagesError } from './accept-job.ts'
export {
  createDeliver,
  type Deliver,
  type DeliverContext,
  type DeliverSettings,
  healthPolicy,
} from './deliver.ts'
export {
  HEALTH_POLICY,
  HEALTHY,
  type HealthEvent,
  type HealthPolicy,
  healthEvent,
  isHealthy,
  nextHealth,
  releaseRoom,
} from './endpoint-health.ts'
export { messagePayload, payloadData } from './payload.ts'
export { type Probe, startProbe } from './probe.ts'
export { type RetryDeliveryResult, retryDelivery } from './retry-delivery.ts'
export { nextState, type Outcome, parseRetryAfter, type RetryPolicy } from './retry-policy.ts'
export { type Sweep, startSweep, UNCLAIMED_GRACE_MS } from './sweep.ts'

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
  type Admission,
  type AdmissionLimits,
  decideAdmission,
  type Load,
  type OverloadReason,
  PROCESS_LIMITS,
} from './admission.ts'
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
export { type ExpungeResult, expungePayloads } from './expunge.ts'
export { type LoadSampler, startLoadSampler } from './load-sampler.ts'
export { type OperationalEvents, startOperationalEvents } from './operational-events.ts'
export { messagePayload, payloadData } from './payload.ts'
export { type Probe, startProbe } from './probe.ts'
export { type ReleasePaced, startReleasePaced } from './release-paced.ts'
export {
  type AskedReplay,
  type AskReplayResult,
  askReplay,
  REPLAY_PER_SECOND_DEFAULT,
} from './replay.ts'
export { type ReplayPace, replayPace } from './replay-pace.ts'
export { type RetryDeliveryResult, retryDelivery } from './retry-delivery.ts'
export { nextState, type Outcome, parseRetryAfter } from './retry-policy.ts'
export { type Replays, type ReplaysContext, startReplays } from './run-replays.ts'
export { type Sweep, startSweep, UNCLAIMED_GRACE_MS } from './sweep.ts'

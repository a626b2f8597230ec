/** What is measured of a process that accepts, and of what waits behind it. */
export interface Load {
  /** Emits that wait for their commit, and the bytes of their payloads. */
  waitingEmits: number
  waitingBytes: number
  /** Callers that wait for a connection to the database. */
  waitingForConnection: number
  /** How late the event loop comes to its timers, on average of the last seconds. */
  eventLoopDelayMs: number
  /** Deliveries that are due, of all owners. */
  due: number
  /** How long the longest due delivery has been due. */
  oldestDueMs: number
}

export interface AdmissionLimits {
  waitingEmitsMax: number
  waitingBytesMax: number
  waitingForConnectionMax: number
  eventLoopDelayMaxMs: number
  /** Due deliveries in all: POSTHORN_BACKLOG_MAX. */
  backlogMax: number
  /** The part of what is due that may be one owner's while the platform is behind: POSTHORN_OWNER_SHARE. */
  ownerShare: number
  /** A backlog of some size whose oldest delivery is due for longer than this is one that workers cannot cope with. */
  oldestDueMaxMs: number
}

export type Admission =
  | { kind: 'admitted' }
  /** More than its share of what is due is this owner's, and others wait behind it. */
  | { kind: 'owner-over-share'; retryAfterMs: number }
  /** Nobody's emits are taken. */
  | { kind: 'overloaded'; reason: OverloadReason; retryAfterMs: number }

export type OverloadReason = 'waiting-emits' | 'database-connections' | 'event-loop' | 'backlog'

/** What is not for an operator to set: they bound the memory and the delays of one process. */
export const PROCESS_LIMITS = {
  waitingEmitsMax: 10_000,
  waitingBytesMax: 32 * 1024 * 1024,
  waitingForConnectionMax: 200,
  eventLoopDelayMaxMs: 500,
  oldestDueMaxMs: 5 * 60_000,
} as const

/** A process recovers as soon as some commits are through, a backlog when workers have caught up a little. */
const PROCESS_RETRY_AFTER_MS = 1_000
const BACKLOG_RETRY_AFTER_MS = 5_000

/** From this part of the backlog's limit on, each owner is held to its share. */
const BEHIND_PART = 0.5
/** From this part on, if the oldest has been due for too long. */
const BEHIND_BY_AGE_PART = 0.1

/**
 * Whether an emit is taken, by what was measured. Nothing that was accepted before is touched.
 *
 * @param ownerDue deliveries that are due of the owner who emits
 */
export function decideAdmission(load: Load, limits: AdmissionLimits, ownerDue: number): Admission {
  const reason = overloadReason(load, limits)
  if (reason !== undefined) {
    const retryAfterMs = reason === 'backlog' ? BACKLOG_RETRY_AFTER_MS : PROCESS_RETRY_AFTER_MS
    return { kind: 'overloaded', reason, retryAfterMs }
  }
  if (isBehind(load, limits) && ownerDue > limits.ownerShare * load.due) {
    return { kind: 'owner-over-share', retryAfterMs: BACKLOG_RETRY_AFTER_MS }
  }
  return { kind: 'admitted' }
}

function overloadReason(load: Load, limits: AdmissionLimits): OverloadReason | undefined {
  if (load.waitingEmits >= limits.waitingEmitsMax) return 'waiting-emits'
  if (load.waitingBytes >= limits.waitingBytesMax) return 'waiting-emits'
  if (load.waitingForConnection >= limits.waitingForConnectionMax) return 'database-connections'
  if (load.eventLoopDelayMs >= limits.eventLoopDelayMaxMs) return 'event-loop'
  if (load.due >= limits.backlogMax) return 'backlog'
  return undefined
}

function isBehind({ due, oldestDueMs }: Load, { backlogMax, oldestDueMaxMs }: AdmissionLimits): boolean {
  if (due >= backlogMax * BEHIND_PART) return true
  return oldestDueMs >= oldestDueMaxMs && due >= backlogMax * BEHIND_BY_AGE_PART
}

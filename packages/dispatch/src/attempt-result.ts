import type { RetryPolicy } from '@posthorn/contracts'
import type { PostOutcome } from '@posthorn/egress'
import type { AttemptResult, ClaimedDelivery } from '@posthorn/store'
import { endToEndHeaders } from './end-to-end-headers.ts'
import { nextState, type Outcome, parseRetryAfter } from './retry-policy.ts'

export interface Attempted {
  delivery: ClaimedDelivery
  claim: string
  startedAt: Date
  outcome: PostOutcome
  policy: RetryPolicy
  /** Uniform in [0, 1): the jitter. */
  random: number
}

/** What is written of an attempt, and why the endpoint is to be disabled, if it is. */
export function attemptResult(attempted: Attempted): { result: AttemptResult; disable: string | undefined } {
  const { delivery, outcome, startedAt } = attempted
  const number = delivery.attempts + 1
  // A replay begins the retry schedule anew.
  const attempt = number - delivery.attemptsBeforeReplay
  const next = nextState(policyOutcome(outcome, startedAt), attempt, attempted.policy, attempted.random)
  return {
    disable: 'disableEndpoint' in next ? next.disableEndpoint : undefined,
    result: {
      deliveryId: delivery.id,
      claim: attempted.claim,
      number,
      startedAt,
      durationMs: outcome.durationMs,
      timings: outcome.timings,
      next: next.state === 'pending' ? { state: 'pending', delayMs: next.delayMs } : { state: next.state },
      ...(outcome.kind === 'answered'
        ? {
            outcome: next.state === 'delivered' ? 'delivered' : 'rejected',
            status: outcome.status,
            responseHeaders: JSON.stringify(endToEndHeaders(outcome.headers)),
            responseBody: outcome.body,
            responseBodyTruncated: outcome.bodyTruncated,
          }
        : {
            outcome: outcome.code,
            detail: withoutNul(outcome.detail),
            responseBodyTruncated: false,
            ...(outcome.status !== undefined && { status: outcome.status }),
          }),
    },
  }
}

export function policyOutcome(outcome: PostOutcome, startedAt: Date): Outcome {
  if (outcome.kind === 'failed') return { kind: 'failed', code: outcome.code }
  const header = outcome.headers.find(([name]) => name.toLowerCase() === 'retry-after')
  const retryAfterMs = parseRetryAfter(header?.[1], startedAt.getTime() + outcome.durationMs)
  return {
    kind: 'answered',
    status: outcome.status,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  }
}

/** PostgreSQL's text holds every character but this one. */
function withoutNul(text: string): string {
  return text.replaceAll('\0', '\uFFFD')
}

import { type Static, Type } from 'typebox'

const DAY_MS = 86_400_000
/** Attempts that one delivery may have. */
export const RETRY_ATTEMPTS_MAX = 100
/** The longest single wait. */
export const RETRY_DELAY_MAX_MS = 30 * DAY_MS
/** The longest that all waits together may take: after that, nobody waits for the event any more. */
export const RETRY_TOTAL_MAX_MS = 60 * DAY_MS
/** ±20 %, so that deliveries that failed together do not come back together. */
export const RETRY_JITTER_DEFAULT = 0.2

const Jitter = Type.Optional(
  Type.Number({
    minimum: 0,
    maximum: 0.5,
    description: `How far a wait may be off, as a part of it; ${RETRY_JITTER_DEFAULT} where it is not given.`,
    'x-expected': 'be a number from 0 to 0.5',
  }),
)
const DelayMs = (description: string) =>
  Type.Integer({
    minimum: 0,
    maximum: RETRY_DELAY_MAX_MS,
    description,
    'x-expected': `be whole milliseconds from 0 to ${RETRY_DELAY_MAX_MS} (30 days)`,
  })

export const ListedRetryPolicy = Type.Object(
  {
    delaysMs: Type.Array(DelayMs('In milliseconds.'), {
      maxItems: RETRY_ATTEMPTS_MAX - 1,
      description: 'The wait after each failed attempt; one more attempt than waits, then it is dead.',
      examples: [[5_000, 300_000, 7_200_000]],
      'x-expected': `be a list of at most ${RETRY_ATTEMPTS_MAX - 1} waits`,
    }),
    jitter: Jitter,
  },
  { title: 'ListedRetryPolicy', additionalProperties: false },
)

export type ListedRetryPolicy = Static<typeof ListedRetryPolicy>

export const ExponentialRetryPolicy = Type.Object(
  {
    baseMs: DelayMs('The first wait, in milliseconds.'),
    factor: Type.Number({
      minimum: 1,
      maximum: 10,
      description: 'How many times as long as the one before each wait is.',
      'x-expected': 'be a number from 1 to 10',
    }),
    maxMs: DelayMs('The longest wait, in milliseconds.'),
    attempts: Type.Integer({
      minimum: 1,
      maximum: RETRY_ATTEMPTS_MAX,
      description: 'How many attempts there are, the first one included; then it is dead.',
      'x-expected': `be a whole number from 1 to ${RETRY_ATTEMPTS_MAX}`,
    }),
    jitter: Jitter,
  },
  { title: 'ExponentialRetryPolicy', additionalProperties: false },
)

export type ExponentialRetryPolicy = Static<typeof ExponentialRetryPolicy>

const FORMS = 'be {delaysMs, jitter?} or {baseMs, factor, maxMs, attempts, jitter?}'

/** When a failed delivery is attempted again, and how often. `retryPolicyFault` judges it as a whole. */
export const RetryPolicy = Type.Union([ListedRetryPolicy, ExponentialRetryPolicy], { 'x-expected': FORMS })
export type RetryPolicy = Static<typeof RetryPolicy>

export const RetryPolicyOrNull = Type.Union([ListedRetryPolicy, ExponentialRetryPolicy, Type.Null()], {
  description: 'When a failed delivery is attempted again. Null: as the platform is set.',
  'x-expected': `${FORMS}, or null`,
})

export const RetrySchedule = Type.Array(
  Type.Object(
    {
      attempt: Type.Integer({ description: 'Counts from 1.' }),
      afterMs: Type.Integer({ description: 'How long after the first attempt, without jitter.' }),
      minMs: Type.Integer({ description: 'The same, with every wait as short as jitter makes it.' }),
      maxMs: Type.Integer({ description: 'The same, with every wait as long as jitter makes it.' }),
    },
    { additionalProperties: false },
  ),
  {
    description:
      'When each attempt of a delivery is made that always fails, in milliseconds from the first. ' +
      'The time that attempts take comes on top, and a longer Retry-After.',
  },
)
export type RetrySchedule = Static<typeof RetrySchedule>

/** The platform's policy, which counts for every endpoint that has none of its own. */
export const PlatformRetryPolicy = Type.Object(
  { retryPolicy: RetryPolicy, retrySchedule: RetrySchedule },
  { title: 'PlatformRetryPolicy', additionalProperties: false },
)

/**
 * The wait before an attempt in whole milliseconds, without jitter.
 *
 * @param attempt from 1, which does not wait
 * @returns undefined where the policy has no such attempt
 */
export function delayBefore(policy: RetryPolicy, attempt: number): number | undefined {
  if (attempt === 1) return 0
  if ('delaysMs' in policy) return policy.delaysMs[attempt - 2]
  if (attempt > policy.attempts) return undefined
  return Math.round(Math.min(policy.baseMs * policy.factor ** (attempt - 2), policy.maxMs))
}

/**
 * `delayMs` moved by the policy's jitter, in whole milliseconds.
 *
 * @param random from 0, the shortest, to 1, the longest
 */
export function withJitter(policy: RetryPolicy, delayMs: number, random: number): number {
  const { jitter = RETRY_JITTER_DEFAULT } = policy
  return Math.round(delayMs * (1 - jitter + 2 * jitter * random))
}

/** The real times that a policy leads to: each attempt's distance from the first. */
export function retrySchedule(policy: RetryPolicy): RetrySchedule {
  const schedule = [{ attempt: 1, afterMs: 0, minMs: 0, maxMs: 0 }]
  for (let attempt = 2; ; attempt += 1) {
    const delayMs = delayBefore(policy, attempt)
    if (delayMs === undefined) return schedule
    const before = schedule.at(-1)!
    schedule.push({
      attempt,
      afterMs: before.afterMs + delayMs,
      minMs: before.minMs + withJitter(policy, delayMs, 0),
      maxMs: before.maxMs + withJitter(policy, delayMs, 1),
    })
  }
}

/** What a schema cannot say of a policy: which member is wrong, and how; undefined where nothing is. */
export function retryPolicyFault(policy: RetryPolicy): { member: string; message: string } | undefined {
  if ('maxMs' in policy && policy.maxMs < policy.baseMs) {
    return { member: 'maxMs', message: `must be at least baseMs, which is ${policy.baseMs}` }
  }
  const totalMs = retrySchedule(policy).at(-1)!.afterMs
  if (totalMs <= RETRY_TOTAL_MAX_MS) return undefined
  const days = (totalMs / DAY_MS).toFixed(1)
  return {
    member: 'delaysMs' in policy ? 'delaysMs' : 'attempts',
    message: `must not lead to waits of more than 60 days together; these are ${days} days`,
  }
}

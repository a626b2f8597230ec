import { setTimeout as delay } from 'node:timers/promises'

export type WaitForOptions = {
  /** 10,000 when left out. */
  timeoutMs?: number
  /** What was waited for, for the error. */
  message?: string | (() => string)
  /** Answers a reason when waiting on is pointless. */
  failEarly?: () => string | undefined
}

const POLL_MS = 20

/** Polls until `probe` answers something truthy, and answers that; throws when the time is over. */
export async function waitFor<T>(
  probe: () => T | Promise<T>,
  options: WaitForOptions = {},
): Promise<Exclude<T, undefined | null | false | 0 | ''>> {
  const { timeoutMs = 10_000, message = 'the condition', failEarly } = options
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const found = await probe()
    if (found) return found as Exclude<T, undefined | null | false | 0 | ''>
    const reason = failEarly?.()
    if (reason !== undefined) throw new Error(reason)
    if (performance.now() > deadline) {
      const what = typeof message === 'string' ? message : message()
      throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`)
    }
    await delay(POLL_MS)
  }
}

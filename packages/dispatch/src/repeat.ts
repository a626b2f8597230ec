import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '@posthorn/runtime'

export interface RepeatOptions {
  /** Of its log lines: `sweep` has `sweep.failed` and `sweep.recovered`. */
  name: string
  logger: Logger
  /** @returns milliseconds until the next time */
  once(signal: AbortSignal): Promise<number>
  /** Until the next time, where `once` rejected: the database or the queue is away. */
  failedPauseMs: number
}

/**
 * Does something again and again until stopped, whatever comes of it. That it fails is said once, and so is
 * that it does no more.
 *
 * @returns stops it; resolves when what is under way has ended
 */
export function repeat({ name, logger, once, failedPauseMs }: RepeatOptions): () => Promise<void> {
  const stopping = new AbortController()
  const { signal } = stopping
  const running = (async () => {
    let failing = false
    while (!signal.aborted) {
      let pauseMs = failedPauseMs
      try {
        pauseMs = await once(signal)
        if (failing) logger.info(`${name}.recovered`)
        failing = false
      } catch (error) {
        if (!failing) logger.warn({ err: error }, `${name}.failed`)
        failing = true
      }
      await delay(pauseMs, undefined, { signal }).catch(() => {})
    }
  })()
  return async () => {
    stopping.abort()
    await running
  }
}

import { sharedNowMs } from './call-process.ts'

export interface Schedule {
  perSecond: number
  durationMs: number
}

/**
 * A timer is up to a millisecond late, which would be the platform's in the figures: the rest is waited for awake.
 * Not where events follow each other closely: that would take the CPU time of what is measured.
 */
const TIMER_LATE_MS = 1.5
const AWAKE_EVERY_MS = 10

/**
 * Calls `emit` at times that are fixed before, however long the ones before it take; resolves when all have
 * ended.
 *
 * @param emit gets the time at which it was to be called, by the shared clock
 */
export async function onSchedule(
  { perSecond, durationMs }: Schedule,
  emit: (atMs: number) => Promise<void>,
): Promise<void> {
  const underWay = new Set<Promise<void>>()
  const startMs = sharedNowMs()
  const everyMs = 1_000 / perSecond
  const lateMs = everyMs < AWAKE_EVERY_MS ? 0 : TIMER_LATE_MS
  for (let atMs = startMs; atMs < startMs + durationMs; atMs += everyMs) {
    for (let leftMs = atMs - sharedNowMs(); leftMs > 0; leftMs = atMs - sharedNowMs()) {
      if (leftMs > lateMs) await new Promise((resolve) => setTimeout(resolve, leftMs - lateMs))
      else await new Promise((resolve) => setImmediate(resolve))
    }
    const emitted = emit(atMs)
    underWay.add(emitted)
    void emitted.then(() => underWay.delete(emitted))
  }
  await Promise.all(underWay)
}

import { sharedNowMs } from './call-process.ts'

export interface Schedule {
  perSecond: number
  durationMs: number
}

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
  for (let atMs = startMs; atMs < startMs + durationMs; atMs += everyMs) {
    while (sharedNowMs() < atMs) {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, atMs - sharedNowMs())))
    }
    const emitted = emit(atMs)
    underWay.add(emitted)
    void emitted.then(() => underWay.delete(emitted))
  }
  await Promise.all(underWay)
}

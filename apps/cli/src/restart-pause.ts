/** A process that ran for so long did not fail at its start: the next one is given no blame for it. */
const RAN_WELL_MS = 60_000
const PAUSE_MS = 500
const PAUSE_MAX_MS = 30_000

/** Failures in a row, with one more after `ranMs`. */
export function nextFailures(failures: number, ranMs: number): number {
  return ranMs >= RAN_WELL_MS ? 1 : failures + 1
}

/** Before a process is started anew: half a second at first, twice as long each time, half a minute at most. */
export function restartPauseMs(failures: number): number {
  return Math.min(PAUSE_MS * 2 ** (failures - 1), PAUSE_MAX_MS)
}

/** How a replay's cap is kept by batches. */
export interface ReplayPace {
  /** Deliveries to release at once, at most. */
  batch: number
  /** How long to wait after `released` deliveries, in whole milliseconds. */
  pauseMs(released: number): number
}

/** About as many batches a second, so that a batch of a high cap is still a small one. */
const BATCHES_PER_SECOND = 20

/**
 * Batches and pauses that release at most `perSecond` deliveries in any second, wherever it begins.
 *
 * A second holds batches of which all but the last were waited for within it: at the rate r they are
 * fewer than r, and the last one adds a batch. So with r = perSecond - batch + 1 the sum is at most
 * perSecond; and a cap costs at most a twentieth of itself.
 */
export function replayPace(perSecond: number): ReplayPace {
  const batch = Math.max(1, Math.floor(perSecond / BATCHES_PER_SECOND))
  const rate = perSecond - batch + 1
  return { batch, pauseMs: (released) => Math.ceil((released * 1_000) / rate) }
}

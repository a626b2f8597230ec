import { listEndpointsToProbe, wakeLeftBehind } from '@posthorn/store'
import { type ChangeHealthContext, changeHealth } from './change-health.ts'
import { repeat } from './repeat.ts'

const PAUSE_MS = 1_000
const ENDPOINTS_AT_ONCE = 100
const LEFT_BEHIND_AT_ONCE = 1_000

/** Lets one delivery go to each endpoint whose time has come. */
export interface Probe {
  once(): Promise<void>
  stop(): Promise<void>
}

/** Looks every second until stopped. Any number of processes may: of two that probe one endpoint, one does. */
export function startProbe(context: ChangeHealthContext): Probe {
  const once = () => probeOnce(context)
  const stop = repeat({
    name: 'probe',
    logger: context.logger,
    once: async () => {
      await once()
      return PAUSE_MS
    },
    failedPauseMs: PAUSE_MS,
  })
  return { once, stop }
}

async function probeOnce(context: ChangeHealthContext): Promise<void> {
  const due = await listEndpointsToProbe(context.pool, ENDPOINTS_AT_ONCE)
  const events = due.map((endpointId) => ({ endpointId, event: { kind: 'probeDue' } as const }))
  if (events.length > 0) await changeHealth(context, events)
  await wakeLeftBehind(context.pool, LEFT_BEHIND_AT_ONCE)
}

import { setTimeout as delay } from 'node:timers/promises'
import { seededRandom } from '@posthorn/testkit'
import { describeLoss } from './describe-loss.ts'
import type { Fault } from './fault.ts'
import { type Backend, type Field, settle, startField } from './start-field.ts'
import { judge, type Verdict } from './verdict.ts'

export interface FaultsReport {
  faults: number
  verdict: Verdict
  worstRecoveryMs: number
  /** Duplicates before the first fault. */
  calmDuplicates: number
  /** The way of what was found, a line each. */
  story: string[]
}

export interface FaultsOptions {
  backend: Backend
  faults: readonly Fault[]
  seed: number
  perSecond: number
  calmMs: number
  say(line: string): void
}

/** Of 10,000 deliveries, faults included. */
const DUPLICATES_PER_10K_MAX = 50
/** Delivery is normal again when nothing waits for longer than this. */
const NORMAL_WAIT_MS = 1_000
const POLL_MS = 20
export const RECOVERY_MAX_MS = 60_000

/** Runs a platform under load through these faults, and judges what became of everything. */
export async function runFaults(options: FaultsOptions): Promise<FaultsReport> {
  const { faults, seed, say } = options
  const random = seededRandom(seed)
  const field = await startField(options)
  try {
    field.load.resume()
    await delay(options.calmMs)
    const calmDuplicates = countDuplicates(field)
    let worstRecoveryMs = 0
    for (const [at, fault] of faults.entries()) {
      await delay(random.between(100, 600))
      const duplicatesBefore = countDuplicates(field)
      await fault.inject(field, seededRandom(random.between(0, 2 ** 31)))
      const recoveryMs = await recover(field)
      worstRecoveryMs = Math.max(worstRecoveryMs, recoveryMs)
      const duplicates = countDuplicates(field) - duplicatesBefore
      say(`${at + 1}/${faults.length} ${fault.name}: normal after ${recoveryMs} ms, ${duplicates} duplicates`)
    }
    const settled = await settle(field, RECOVERY_MAX_MS).then(
      () => true,
      () => false,
    )
    if (!settled) say('It did not settle.')
    const verdict = await judgeField(field)
    const story = await describeLoss(field, verdict)
    return { faults: faults.length, verdict, worstRecoveryMs, calmDuplicates, story }
  } finally {
    await field.close()
  }
}

export async function judgeField(field: Field): Promise<Verdict> {
  const recorded = await field.readDatabaseLedger()
  return judge(field.load.ledger, field.receiver.ledger.values(), recorded, {
    duplicatesPer10kMax: DUPLICATES_PER_10K_MAX,
    overdueMaxMs: RECOVERY_MAX_MS / 2,
  })
}

/** @returns how long after now something last waited longer than usual */
async function recover({ load }: Field): Promise<number> {
  const endedAtMs = Date.now()
  let troubledAtMs = endedAtMs
  // What was held up a moment ago shows only when it has waited for so long.
  while (Date.now() - troubledAtMs < NORMAL_WAIT_MS + POLL_MS) {
    if (troubledAtMs - endedAtMs > RECOVERY_MAX_MS) break
    if (load.oldestWaitMs() > NORMAL_WAIT_MS) troubledAtMs = Date.now()
    await delay(POLL_MS)
  }
  return troubledAtMs - endedAtMs
}

function countDuplicates({ receiver }: Field): number {
  let duplicates = 0
  for (const { taken } of receiver.ledger.values()) duplicates += Math.max(0, taken - 1)
  return duplicates
}

import { setTimeout as delay } from 'node:timers/promises'
import { judge } from '../verdict.ts'
import type { Emission } from './open-loop.ts'
import { watchMemory } from './resident-memory.ts'
import type { Scenario } from './scenario.ts'
import { type Stage, startStage } from './start-stage.ts'

const RSS_GROWTH_MAX_MB = 100
const OVERLOAD_MIN = 10
const ANSWERS = ['202', '429', '503']
const OWNERS = 8
/** Of what is emitted, so much is one owner's: it has more than its share of what is due. */
const GREEDY_PART = 0.4
/** With so few slots, and POSTs that take so long, two workers deliver at most 80 a second. */
const WORKER_CONCURRENCY = 2
const POST_MS = 50
const DELIVERED_PER_SECOND_MAX = (2 * WORKER_CONCURRENCY * 1_000) / POST_MS
const OVERLOAD_PER_SECOND = 11 * DELIVERED_PER_SECOND_MAX
const CALM_PER_SECOND = DELIVERED_PER_SECOND_MAX / 4
const BACKLOG_MAX = 3_000
const SECONDS = 60
/** At the same rate: a heap grows to the size that a rate asks for, and what matters is whether it stays there. */
const WARM_UP_MS = 15_000
/** Recovered is who takes everything for this long. */
const CALM_MS = 3_000
const RECOVERY_MAX_MS = 60_000
const DRAIN_MAX_MS = 300_000

/** Ten times as much is emitted as can be delivered: what is answered, does memory stay flat, is anything lost? */
export const overload: Scenario = {
  name: 'overload',
  async run({ backend, seed, seconds = SECONDS, say }) {
    const stage = await startStage({
      backend,
      owners: OWNERS,
      settings: {
        POSTHORN_WORKER_CONCURRENCY: String(WORKER_CONCURRENCY),
        POSTHORN_BACKLOG_MAX: String(BACKLOG_MAX),
      },
    })
    try {
      const { openLoop, platform, receiver } = stage
      receiver.behave({ kind: 'taking', delayMs: POST_MS })
      await openLoop.run(flowsOf(stage, OVERLOAD_PER_SECOND), WARM_UP_MS, seed)
      await stage.drain(DRAIN_MAX_MS)

      const memory = await watchMemory([platform.api, ...platform.workers])
      const takenBefore = countTaken(stage)
      const emitted = await openLoop.run(flowsOf(stage, OVERLOAD_PER_SECOND), seconds * 1_000, seed + 1)
      const overloadFactor = emitted.length / Math.max(1, countTaken(stage) - takenBefore)
      say(`${emitted.length} in ${seconds} s, ${overloadFactor.toFixed(1)} times what was delivered`)
      const recoveryMs = await recover(stage, seed + 2)
      say(`everything is taken again after ${recoveryMs ?? 'too many'} ms`)
      await stage.drain(DRAIN_MAX_MS)
      while (openLoop.unanswered > 0) await delay(100)
      const rss = memory.stop()

      const recorded = await platform.readDatabaseLedger()
      const verdict = judge(openLoop.emissions, receiver.ledger.values(), recorded, {
        duplicatesPer10kMax: 0,
        overdueMaxMs: 0,
      })
      for (const { rule, id } of verdict.findings.slice(0, 5)) say(`${rule} ${id}`)
      const answers = countAnswers(openLoop.emissions)
      const isOverloaded = overloadFactor >= OVERLOAD_MIN
      if (!isOverloaded) say(`That is no overload of ${OVERLOAD_MIN} times.`)
      return {
        overloadFactor: Math.round(overloadFactor * 10) / 10,
        answers,
        rssGrowthMb: rss.growthMb,
        rssMb: rss.processes,
        ...{ acknowledged: verdict.acknowledged, lost: verdict.lost, findings: verdict.findings.length },
        recoveryMs,
        mark: { answers: ANSWERS, rssGrowthMb: RSS_GROWTH_MAX_MB, lost: 0, recoveryMs: RECOVERY_MAX_MS },
        passed:
          isOverloaded &&
          Object.keys(answers).every((answer) => ANSWERS.includes(answer)) &&
          rss.growthMb <= RSS_GROWTH_MAX_MB &&
          verdict.findings.length === 0 &&
          recoveryMs !== undefined,
      }
    } finally {
      await stage.close()
    }
  },
}

function flowsOf({ owners, flow }: Stage, perSecond: number) {
  const [greedy, ...others] = owners
  const ofEach = ((1 - GREEDY_PART) * perSecond) / others.length
  return [flow(greedy!, GREEDY_PART * perSecond), ...others.map((owner) => flow(owner, ofEach))]
}

/** @returns how long after now the first event of those was answered that were all taken; undefined: too long */
async function recover(stage: Stage, seed: number): Promise<number | undefined> {
  const endedAtMs = performance.now()
  while (performance.now() < endedAtMs + RECOVERY_MAX_MS + CALM_MS) {
    const startedAtMs = performance.now()
    const emissions = await stage.openLoop.run(flowsOf(stage, CALM_PER_SECOND), CALM_MS, seed)
    while (emissions.some(({ answer }) => answer === 'unanswered')) await delay(10)
    if (emissions.every(({ answer }) => answer === 'accepted')) return Math.round(startedAtMs - endedAtMs)
  }
  return undefined
}

function countTaken({ receiver }: Stage): number {
  return [...receiver.ledger.values()].reduce((sum, { taken }) => sum + taken, 0)
}

/** By status, or by what the client made of it where none came. */
function countAnswers(emissions: readonly Emission[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { answer } of emissions) {
    const name = answer === 'accepted' ? '202' : answer
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

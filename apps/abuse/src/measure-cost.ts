import { fileURLToPath } from 'node:url'
import { cpuSecondsOfTrees, spawnNode, waitFor } from '@posthorn/testkit'
import { type Mark, NOTE } from './mark.ts'
import type { Platform } from './start-platform.ts'

const COST_MAX_PERCENT = 5
const EMITS_AT_ONCE = 32

export interface Cost {
  /** Of CPU, in microseconds: of a POST with the guards, of one without, of the difference, of all of a delivery. */
  guardedUs: number
  plainUs: number
  guardsUs: number
  deliveryUs: number
  /** Part of the delivery that the guards are. */
  percent: number
}

/** What the guards cost, as a part of what a delivery costs in all: API, worker and PostgreSQL. Linux only. */
export async function measureCost(
  platform: Platform,
  {
    posts,
    rounds,
    deliveries,
    isJudged,
  }: {
    /** In a round. */
    posts: number
    rounds: number
    deliveries: number
    isJudged: boolean
  },
): Promise<{ cost: Cost; marks: Mark[] }> {
  const receiver = spawnNode(fileURLToPath(new URL('./cost-receiver.ts', import.meta.url)))
  try {
    const [url = ''] = await receiver.waitForLine(/^http.*/)
    const measured = JSON.parse(
      await platform.run('./cost-of-posts.ts', [url, String(rounds), String(posts)]),
    ) as { guardedUs: number; plainUs: number }[]
    const guardsUs = median(measured.map(({ guardedUs, plainUs }) => guardedUs - plainUs))
    const ratio = median(measured.map(({ guardedUs, plainUs }) => guardedUs / plainUs))
    const deliveryUs = await cpuOfDelivery(platform, url, deliveries)
    const percent = (100 * guardsUs) / deliveryUs
    const cost = {
      guardedUs: tenths(median(measured.map((one) => one.guardedUs))),
      plainUs: tenths(median(measured.map((one) => one.plainUs))),
      guardsUs: tenths(guardsUs),
      deliveryUs: tenths(deliveryUs),
      percent: tenths(percent),
    }
    const note = (what: string, found: string): Mark => ({
      what,
      found,
      mark: NOTE,
      held: true,
      findings: [],
    })
    return {
      cost,
      marks: [
        note(
          'a POST with the guards, of one without',
          `${ratio.toFixed(2)} times (${cost.guardedUs.toFixed(0)} and ${cost.plainUs.toFixed(0)} µs)`,
        ),
        note('a whole delivery', `${deliveryUs.toFixed(0)} µs`),
        {
          what: "the guards' part of a delivery's CPU",
          found: `${percent.toFixed(1)} % (${guardsUs.toFixed(0)} µs)`,
          mark: isJudged ? `<= ${COST_MAX_PERCENT} %` : 'judged in a full run',
          held: !isJudged || percent <= COST_MAX_PERCENT,
          findings: [],
        },
      ],
    }
  } finally {
    await receiver.stop()
  }
}

/** Microseconds, of messages of 1 KB that are emitted one by one and delivered to one endpoint each. */
async function cpuOfDelivery(platform: Platform, url: string, deliveries: number): Promise<number> {
  const eventType = 'abuse.cost'
  const owner = 'cost'
  await platform.make('POST', '/v1/event-types', { name: eventType })
  await platform.make('POST', '/v1/owners', { uid: owner })
  await platform.make('POST', `/v1/owners/${owner}/endpoints`, {
    ...{ url, eventTypes: [eventType] },
    inFlightMax: EMITS_AT_ONCE,
  })
  const { api, worker, postgres } = platform.pids
  const cpuSeconds = () => cpuSecondsOfTrees([api, worker, postgres])
  const message = { owner, type: eventType, data: 'x'.repeat(950) }
  const deliver = async (count: number, expected: number) => {
    let begun = 0
    const emit = async () => {
      while (begun < count) {
        begun += 1
        await platform.make('POST', '/v1/messages', message)
      }
    }
    await Promise.all(Array.from({ length: EMITS_AT_ONCE }, emit))
    const areDelivered = async () => (await delivered(platform, eventType)) === expected
    await waitFor(areDelivered, { timeoutMs: 60_000, message: 'all to be delivered' })
  }
  const warmUp = Math.ceil(deliveries / 4)
  await deliver(warmUp, warmUp)
  const before = cpuSeconds()
  await deliver(deliveries, warmUp + deliveries)
  return ((cpuSeconds() - before) * 1e6) / deliveries
}

async function delivered(platform: Platform, eventType: string): Promise<number> {
  const [row] = await platform.query<{ count: number }>(
    "SELECT count(*)::int AS count FROM deliveries WHERE event_type = $1 AND state = 'delivered'",
    [eventType],
  )
  return row!.count
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

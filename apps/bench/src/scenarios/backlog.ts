import { encodeId } from '@posthorn/contracts'
import { newDeliveryId } from '@posthorn/store'
import { processSize, waitFor } from '@posthorn/testkit'
import { throughputFigures } from '../measure-throughput.ts'
import { sharedNowMs } from '../processes/call-process.ts'
import { reconcile } from '../reconcile.ts'
import { redisMemoryBytes } from '../redis-memory.ts'
import type { Figures, Scenario, ScenarioOptions } from '../scenario.ts'
import { BadRoundError, type Owner, type Round, type Stage, subtract, TYPE } from '../stage.ts'

const OWNERS = 10
const ENDPOINTS = 10
const FAN_OUT_DELIVERIES = 20_000
const SAMPLED_EVERY_MS = 1_000
/** A drain that is slower than this has gone wrong. */
const LEAST_PER_SECOND = 200

/** Deliveries that are due and that no job knows of, as after an outage; against `fan-out` beside them. */
export const backlog: Scenario = {
  name: 'backlog',
  quick: false,
  async run(stage, options) {
    const fanOutOwner = await stage.addOwner(ENDPOINTS)
    const withoutEndpoints = await stage.addOwner(0)
    // So many endpoints that it is never their number of deliveries in flight that decides.
    const owners = await Promise.all(Array.from({ length: OWNERS }, () => stage.addOwner(ENDPOINTS)))
    const fanOut = async () => {
      await waitUntilAdmitted(stage, withoutEndpoints)
      return await stage.closed(fanOutOwner, {
        ...{ entrance: 'rest', callers: 64, events: FAN_OUT_DELIVERIES / ENDPOINTS },
      })
    }
    await stage.bareLoopPerCpuSecond()
    await fanOut()
    const sizes = options.quick ? [100_000] : [100_000, 1_000_000]
    const figures: Figures[] = []
    for (const deliveries of sizes) {
      // The largest takes minutes, in which what else the machine does evens out.
      const repeats = deliveries > 100_000 ? 1 : options.repeats
      figures.push(...(await measureDrains(stage, owners, deliveries, { ...options, repeats }, fanOut)))
    }
    return figures
  },
}

async function measureDrains(
  stage: Stage,
  owners: readonly Owner[],
  deliveries: number,
  { repeats, say }: ScenarioOptions,
  fanOut: () => Promise<Round>,
): Promise<Figures[]> {
  const fanOuts: Round[] = []
  const drains: Drain[] = []
  const bare: number[] = []
  for (let repeat = 0; repeat < repeats; repeat++) {
    bare.push(await stage.bareLoopPerCpuSecond())
    fanOuts.push(await fanOut())
    drains.push(await drain(stage, owners, deliveries))
    bare.push(await stage.bareLoopPerCpuSecond())
  }
  const variant = `${deliveries.toLocaleString('en')} deliveries`
  const name = { scenario: 'backlog', variant }
  const beside = throughputFigures(stage.backend, { ...name, variant: `fan-out ${ENDPOINTS}` }, fanOuts, bare)
  const drained = throughputFigures(stage.backend, name, drains, bare)
  const drainRatio = Math.round((drained.deliveriesPerSecond / beside.deliveriesPerSecond) * 1_000) / 1_000
  const most = (figure: (drain: Drain) => number) => Math.max(...drains.map(figure))
  say(`backlog ${variant}: ${drained.deliveriesPerSecond}/s, ${drainRatio} of fan-out ${ENDPOINTS}`)
  return [
    beside,
    {
      ...drained,
      drainRatio,
      apiRssMb: most(({ apiRssMb }) => apiRssMb),
      workerRssMb: most(({ workerRssMb }) => workerRssMb),
      ...(stage.platform.redisPort !== undefined && {
        redisBytesPerWaiting: Math.round((most(({ redisBytes }) => redisBytes) / deliveries) * 10) / 10,
      }),
    },
  ]
}

/** A round in which nothing is emitted; the most that was seen while it drained. */
interface Drain extends Round {
  apiRssMb: number
  workerRssMb: number
  /** More than before there was a backlog. */
  redisBytes: number
}

async function drain(stage: Stage, owners: readonly Owner[], deliveries: number): Promise<Drain> {
  const { platform } = stage
  const { redisPort, pids } = platform
  const redisBytesBefore = redisPort === undefined ? 0 : await redisMemoryBytes(redisPort)
  const most = { apiRssMb: 0, workerRssMb: 0, redisBytes: 0 }
  const sample = async () => {
    most.apiRssMb = Math.max(most.apiRssMb, processSize(pids.api).rssMb)
    most.workerRssMb = Math.max(most.workerRssMb, processSize(pids.worker).rssMb)
    if (redisPort === undefined) return
    most.redisBytes = Math.max(most.redisBytes, (await redisMemoryBytes(redisPort)) - redisBytesBefore)
  }
  const emitted = await insertBacklog(stage, owners, deliveries)
  const before = platform.cpuSeconds()
  const timer = setInterval(() => void sample(), SAMPLED_EVERY_MS)
  const hasArrived = async () => (await stage.countArrived()) >= deliveries
  // What does not arrive is told below, with everything else that is wrong.
  await waitFor(hasArrived, { timeoutMs: 60_000 + (deliveries / LEAST_PER_SECOND) * 1_000 }).catch(() => {})
  await waitFor(() => isEmpty(stage), { timeoutMs: 30_000 }).catch(() => {})
  const emptyAtMs = sharedNowMs()
  clearInterval(timer)
  await sample()
  const after = platform.cpuSeconds()
  const arrivals = await stage.takeArrivals()
  const [notDelivered] = await platform.query<{ count: number }>(
    `SELECT count(*)::int FROM deliveries WHERE state <> 'delivered'`,
  )
  const faults = reconcile({
    ...{ emitted, arrived: new Set(arrivals.ids), endpoints: ENDPOINTS, refused: {} },
    ...{ deliveries: arrivals.deliveries, doubled: arrivals.doubled, notDelivered: notDelivered!.count },
  })
  if (faults.length > 0) throw new BadRoundError(faults.join(' '))
  return {
    ...{
      events: emitted.length,
      deliveries,
      payloadBytes: owners[0]!.payloadBytes,
      latenciesMs: [],
      spreadsMs: arrivals.spreadsMs,
      ...most,
    },
    seconds: (emptyAtMs - arrivals.firstAtMs) / 1_000,
    cpu: subtract(after, before),
  }
}

// Output:  ids of the messages
//
// What the API commits (ACCEPT in packages/store/src/accept-messages.ts), with a message that it took copied:
// each goes to all endpoints of its owner, owners in turn. Due now, and the sweep may look now: nobody
// enqueues any of it.
const INSERT = (uids: string, messages: number) => `
WITH owner_ids AS MATERIALIZED (
  SELECT array_agg(id) AS ids FROM owners WHERE uid IN (${uids})
), sample AS MATERIALIZED (
  SELECT payload FROM messages WHERE deliveries = ${ENDPOINTS} ORDER BY id DESC LIMIT 1
), new_messages AS (
  INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
  SELECT uuidv7(), o.ids[1 + n % cardinality(o.ids)], '${TYPE}', now(), ${ENDPOINTS}, s.payload
  FROM generate_series(1, ${messages}) AS n CROSS JOIN owner_ids o CROSS JOIN sample s
  RETURNING id, owner_id
), new_deliveries AS (
  INSERT INTO deliveries_pending (id, state, message_id, endpoint_id, owner_id, event_type, due_at, wake_at)
  SELECT ${newDeliveryId('m.id')}, 'pending', m.id, e.id, m.owner_id, '${TYPE}', date_trunc('milliseconds', now()), now()
  FROM new_messages m JOIN endpoints e ON e.owner_id = m.owner_id AND e.deleted_at IS NULL
)
SELECT id FROM new_messages`

async function insertBacklog(
  { platform }: Stage,
  owners: readonly Owner[],
  deliveries: number,
): Promise<string[]> {
  const uids = owners.map(({ uid }) => `'${uid}'`).join()
  // One transaction: the drain begins with all of it there.
  await platform.query('BEGIN')
  const rows = await platform.query<{ id: string }>(INSERT(uids, deliveries / ENDPOINTS))
  // A backlog comes about in minutes, and autovacuum has looked at it by then.
  await platform.query('ANALYZE deliveries_pending')
  await platform.query('COMMIT')
  return rows.map(({ id }) => encodeId('msg', id))
}

async function isEmpty({ platform }: Stage): Promise<boolean> {
  const rows = await platform.query('SELECT FROM deliveries_pending LIMIT 1')
  return rows.length === 0
}

/** The API refuses events while too much is due, and looks at that every few seconds. */
async function waitUntilAdmitted({ platform }: Stage, { uid }: Owner): Promise<void> {
  const isAdmitted = () =>
    platform.request('POST', '/v1/messages', { owner: uid, type: TYPE, data: {} }).then(
      () => true,
      () => false,
    )
  await waitFor(isAdmitted, { timeoutMs: 30_000, message: 'the API to take events again' })
}

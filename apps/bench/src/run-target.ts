import { cpuSecondsOfTrees, waitFor } from '@posthorn/testkit'
import { measureLatency } from './measure-latency.ts'
import { percentile } from './percentile.ts'
import type { BareLoopFigures } from './processes/bare-loop.ts'
import { type CalledProcess, startCalledProcess } from './processes/call-process.ts'
import type { Emitted } from './processes/generator.ts'
import type { HttpClosedLoop, HttpOpenLoop } from './processes/http-generator.ts'
import type { HttpArrivals, HttpCounts, ListenOptions } from './processes/http-receiver.ts'
import { reconcile } from './reconcile.ts'
import type { Figures, ScenarioOptions } from './scenario.ts'
import { BARE_LOOP_MS, BadRoundError } from './stage.ts'
import type { HttpTarget } from './target.ts'

interface TargetRound {
  events: number
  seconds: number
  /** Of the processes that the target file names. */
  cpuSeconds: number
  latenciesMs: number[]
}

const BACKEND = 'http'
/** Characters of `{{payload}}`. */
const PAYLOAD_BYTES = 1_000
/** More than the sender answers at once. */
const OPEN_CONNECTIONS = 256
const ARRIVED_WITHIN_MS = 120_000

/** `single` and `latency` against another sender, which has the receiver registered as an endpoint. */
export async function runTarget(
  target: HttpTarget,
  receiverPort: number,
  { quick, repeats, say }: ScenarioOptions,
): Promise<Figures[]> {
  await using stack = new AsyncDisposableStack()
  const start = (script: string): CalledProcess => {
    const started = startCalledProcess(new URL(`processes/${script}`, import.meta.url))
    stack.defer(() => started.stop())
    return started
  }
  const receiver = start('http-receiver.ts')
  const generator = start('http-generator.ts')
  const listening: ListenOptions = { port: receiverPort, idFrom: target.idFrom }
  const receiverUrl = await receiver.call<string>('listen', listening)
  const measureCpu = () => cpuSecondsOfTrees(target.pids ?? [])

  async function measure(emit: () => Promise<Emitted>): Promise<TargetRound> {
    const before = measureCpu()
    const { ids, intendedAtMs, refused } = await emit()
    const hasArrived = async () => {
      const { arrived, withoutId } = await receiver.call<HttpCounts>('count')
      // Where ids are looked for in the wrong place, none will be found.
      return arrived >= ids.length || withoutId > 0
    }
    // What does not arrive is told below, with everything else that is wrong.
    await waitFor(hasArrived, { timeoutMs: ARRIVED_WITHIN_MS }).catch(() => {})
    const after = measureCpu()
    const { withoutId, ...arrivals } = await receiver.call<HttpArrivals>('take')
    const faults = reconcile({
      ...{ emitted: ids, arrived: new Set(arrivals.ids), endpoints: 1, refused },
      ...{ deliveries: arrivals.ids.length, doubled: arrivals.doubled, notDelivered: 0 },
    })
    if (withoutId > 0) faults.push(`${withoutId} requests came without an id where idFrom looks for it.`)
    if (ids.length === 0) faults.push('No event was taken.')
    if (faults.length > 0) throw new BadRoundError(faults.join(' '))
    const arrivedAtMs = new Map(arrivals.ids.map((id, at) => [id, arrivals.atMs[at]!]))
    const earliest = intendedAtMs.reduce((a, b) => Math.min(a, b))
    return {
      events: ids.length,
      seconds: (arrivals.atMs.reduce((a, b) => Math.max(a, b)) - earliest) / 1_000,
      cpuSeconds: after - before,
      latenciesMs: ids.map((id, at) => arrivedAtMs.get(id)! - intendedAtMs[at]!),
    }
  }

  const loop = { target, payloadBytes: PAYLOAD_BYTES }
  const closed = (connections: number, events: number) =>
    measure(() =>
      generator.call<Emitted>('closed', { ...loop, connections, events } satisfies HttpClosedLoop),
    )
  const open = (perSecond: number, durationMs: number) => {
    const openLoop: HttpOpenLoop = { ...loop, connections: OPEN_CONNECTIONS, perSecond, durationMs }
    return measure(() => generator.call<Emitted>('open', openLoop))
  }

  async function single(connections: number): Promise<Figures> {
    const events = quick ? 5_000 : 15_000
    const bareLoop = target.pids === undefined ? undefined : start('bare-loop.ts')
    const bare: number[] = []
    const runBareLoop = async () => {
      const run = { url: receiverUrl, payloadBytes: PAYLOAD_BYTES, durationMs: BARE_LOOP_MS }
      const figures = await bareLoop?.call<BareLoopFigures>('run', run)
      if (figures !== undefined) bare.push(figures.deliveries / figures.cpuSeconds)
    }
    // What a process allocates or compiles once is not what a delivery costs.
    await runBareLoop()
    bare.length = 0
    await closed(connections, events)
    const rounds: TargetRound[] = []
    for (let repeat = 0; repeat < repeats; repeat++) {
      await runBareLoop()
      rounds.push(await closed(connections, events))
      await runBareLoop()
    }
    bareLoop?.stop()
    const figures: Figures = {
      ...{ scenario: 'single', variant: `${connections} connections`, backend: BACKEND },
      deliveriesPerSecond: Math.round(median(rounds.map(({ events, seconds }) => events / seconds))),
      ...(target.pids !== undefined && cpuFigures(rounds, median(bare))),
    }
    say(`single ${figures.variant}: ${figures.deliveriesPerSecond}/s`)
    return figures
  }

  const figures = [await single(64), await single(256)]
  const measureMaximum = async () => {
    const { events, seconds } = await closed(64, 5_000)
    return events / seconds
  }
  const durationMs = quick ? 4_000 : 10_000
  figures.push(
    ...(await measureLatency(
      BACKEND,
      { repeats, say },
      {
        measureMaximum,
        runRound: (perSecond) => open(perSecond, durationMs),
      },
    )),
  )
  return figures
}

function cpuFigures(rounds: readonly TargetRound[], bareLoopPerCpuSecond: number) {
  const perCpuSecond = median(rounds.map(({ events, cpuSeconds }) => events / cpuSeconds))
  return {
    perCpuSecond: Math.round(perCpuSecond),
    bareLoopPerCpuSecond: Math.round(bareLoopPerCpuSecond),
    ratio: Math.round((perCpuSecond / bareLoopPerCpuSecond) * 1_000) / 1_000,
    cpuUs: Math.round(1e6 / perCpuSecond),
  }
}

const median = (values: readonly number[]) => percentile(values, 0.5)

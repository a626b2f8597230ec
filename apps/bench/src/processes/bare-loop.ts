// What a delivery costs, and how long it takes, without anything around it: sign, POST, read the answer.
import { encodeId, newUuid } from '@posthorn/contracts'
import { createSigningKey, signedHeaders } from '@posthorn/signing'
import { Pool } from 'undici'
import { answerCalls } from './call-process.ts'
import { onSchedule, type Schedule } from './on-schedule.ts'
import { UNCOUNTED } from './uncounted.ts'

export interface BareLoop {
  url: string
  /** Of the body. */
  payloadBytes: number
  durationMs: number
}

export type BareOpenLoop = Omit<BareLoop, 'durationMs'> & Schedule

export interface BareEmitted {
  ids: string[]
  /** By the shared clock: when each was to be sent. */
  intendedAtMs: number[]
}

export interface BareLoopFigures {
  deliveries: number
  cpuSeconds: number
}

/** As a worker has them in flight to an endpoint. */
const IN_FLIGHT = 10
/** More than the receiver answers at once. */
const OPEN_CONNECTIONS = 256

function createSender(url: string, payloadBytes: number, connections: number) {
  const pool = new Pool(url, { connections, pipelining: 1 })
  const keys = [createSigningKey(Buffer.alloc(32, 7))]
  const body = Buffer.from(JSON.stringify({ data: { text: '' } }).padEnd(payloadBytes))
  return {
    async send(id: string): Promise<void> {
      const signed = signedHeaders({ id, timestampS: Math.floor(Date.now() / 1_000), body, keys })
      const headers = { ...signed, 'content-type': 'application/json' }
      const response = await pool.request({ method: 'POST', path: '/bare', headers, body })
      await response.body.dump()
    },
    close: () => pool.close(),
  }
}

async function run({ url, payloadBytes, durationMs }: BareLoop): Promise<BareLoopFigures> {
  const { send, close } = createSender(url, payloadBytes, IN_FLIGHT)
  const untilMs = performance.now() + durationMs
  const before = process.cpuUsage()
  let deliveries = 0
  const sender = async () => {
    while (performance.now() < untilMs) {
      await send(`${UNCOUNTED}${deliveries}`)
      deliveries += 1
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, sender))
  const { user, system } = process.cpuUsage(before)
  await close()
  return { deliveries, cpuSeconds: (user + system) / 1e6 }
}

async function runOpen(loop: BareOpenLoop): Promise<BareEmitted> {
  const { send, close } = createSender(loop.url, loop.payloadBytes, OPEN_CONNECTIONS)
  const ids: string[] = []
  const intendedAtMs: number[] = []
  await onSchedule(loop, (atMs) => {
    const id = encodeId('msg', newUuid())
    ids.push(id)
    intendedAtMs.push(atMs)
    return send(id)
  })
  await close()
  return { ids, intendedAtMs }
}

answerCalls({ run, open: runOpen })

// What a delivery costs without anything around it: sign, POST, read the answer.
import { createSigningKey, signedHeaders } from '@posthorn/signing'
import { Pool } from 'undici'
import { answerCalls } from './call-process.ts'

export interface BareLoop {
  url: string
  /** Of the body. */
  payloadBytes: number
  durationMs: number
}

export interface BareLoopFigures {
  deliveries: number
  cpuSeconds: number
}

/** As a worker has them in flight to an endpoint. */
const IN_FLIGHT = 10

async function run({ url, payloadBytes, durationMs }: BareLoop): Promise<BareLoopFigures> {
  const pool = new Pool(url, { connections: IN_FLIGHT, pipelining: 1 })
  const keys = [createSigningKey(Buffer.alloc(32, 7))]
  const body = Buffer.from(JSON.stringify({ data: { text: '' } }).padEnd(payloadBytes))
  const untilMs = performance.now() + durationMs
  const before = process.cpuUsage()
  let deliveries = 0
  const sender = async () => {
    while (performance.now() < untilMs) {
      const signed = signedHeaders({
        ...{ id: `bare_${deliveries}`, timestampS: Math.floor(Date.now() / 1_000) },
        ...{ body, keys },
      })
      const headers = { ...signed, 'content-type': 'application/json' }
      const response = await pool.request({ method: 'POST', path: '/bare', headers, body })
      await response.body.dump()
      deliveries += 1
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, sender))
  const { user, system } = process.cpuUsage(before)
  await pool.close()
  return { deliveries, cpuSeconds: (user + system) / 1e6 }
}

answerCalls({ run })

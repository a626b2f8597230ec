// Takes every POST of another sender, and notes by the id that the generator made what came and when.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { uuidTimeMs } from '@posthorn/contracts'
import { findId, type IdFrom } from '../target.ts'
import { answerCalls, sharedNowMs } from './call-process.ts'

export interface ListenOptions {
  port: number
  idFrom: IdFrom
}

/** What came since the last look. */
export interface HttpArrivals {
  ids: string[]
  /** By the shared clock. */
  atMs: Float64Array
  doubled: number
  /** Requests in which there was no id. */
  withoutId: number
}

export type HttpCounts = { arrived: number; withoutId: number }

const startedAtMs = Date.now()
let arrivals = new Map<string, number>()
let doubled = 0
let withoutId = 0

answerCalls({
  async listen({ port, idFrom }: ListenOptions): Promise<string> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => void chunks.push(chunk))
      request.on('end', () => {
        // The bare loop sends none that are to be counted.
        if (request.url !== '/bare') {
          note(findId(idFrom, request.headers, Buffer.concat(chunks).toString('utf8')))
        }
        response.writeHead(204).end()
      })
    })
    server.keepAliveTimeout = 60_000
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, '127.0.0.1', resolve)
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  },
  count: (): HttpCounts => ({ arrived: arrivals.size, withoutId }),
  take(): HttpArrivals {
    const taken = {
      ...{ ids: [...arrivals.keys()], atMs: Float64Array.from(arrivals.values()), doubled, withoutId },
    }
    arrivals = new Map()
    doubled = 0
    withoutId = 0
    return taken
  },
})

function note(id: string | undefined): void {
  if (id === undefined) withoutId += 1
  // What the sender still has of an earlier run, which was stopped or had no figure.
  else if ((uuidTimeMs(id) ?? startedAtMs) < startedAtMs) return
  else if (arrivals.has(id)) doubled += 1
  else arrivals.set(id, sharedNowMs())
}

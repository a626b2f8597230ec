// Gives events to another sender, as its target file says: in a closed loop, where each connection waits for
// its answer, or in an open one, on a schedule that was fixed before.
import { newUuid } from '@posthorn/contracts'
import { Pool } from 'undici'
import { createTemplate, type HttpTarget } from '../target.ts'
import { answerCalls, sharedNowMs } from './call-process.ts'
import type { Emitted } from './generator.ts'
import { onSchedule, type Schedule } from './on-schedule.ts'

export interface HttpLoop {
  target: HttpTarget
  payloadBytes: number
  connections: number
}

export interface HttpClosedLoop extends HttpLoop {
  events: number
}

export type HttpOpenLoop = HttpLoop & Schedule

interface Session {
  /** Emits one event, that was to be emitted at `atMs`. */
  emit(atMs: number): Promise<void>
  /** Ends the session when all have their answers. */
  end(): Promise<Emitted>
}

function openSession({ target, payloadBytes, connections }: HttpLoop): Session {
  const { origin, pathname, search } = new URL(target.url)
  const pool = new Pool(origin, { connections, pipelining: 1 })
  const payload = 'x'.repeat(payloadBytes)
  const body = createTemplate(target.body, payload)
  const headers = Object.entries(target.headers).map(
    ([name, text]) => [name, createTemplate(text, payload)] as const,
  )
  const ids: string[] = []
  const intendedAtMs: number[] = []
  const refused: Record<string, number> = {}

  async function send(id: string): Promise<number | string> {
    const values = { id, timestamp: new Date().toISOString() }
    try {
      const response = await pool.request({
        ...{ method: target.method, path: pathname + search, body: body(values) },
        headers: Object.fromEntries(headers.map(([name, template]) => [name, template(values)])),
      })
      await response.body.dump()
      return response.statusCode
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      return code ?? message
    }
  }

  return {
    async emit(atMs) {
      const id = newUuid()
      const answer = await send(id)
      if (typeof answer === 'number' && answer >= 200 && answer < 300) {
        ids.push(id)
        intendedAtMs.push(atMs)
      } else {
        refused[answer] = (refused[answer] ?? 0) + 1
      }
    },
    async end() {
      await pool.close()
      return { ids, intendedAtMs: Float64Array.from(intendedAtMs), refused }
    },
  }
}

async function runClosed(loop: HttpClosedLoop): Promise<Emitted> {
  const session = openSession(loop)
  let left = loop.events
  const caller = async () => {
    while (left-- > 0) await session.emit(sharedNowMs())
  }
  await Promise.all(Array.from({ length: loop.connections }, caller))
  return await session.end()
}

async function runOpen(loop: HttpOpenLoop): Promise<Emitted> {
  const session = openSession(loop)
  await onSchedule(loop, session.emit)
  return await session.end()
}

answerCalls({ closed: runClosed, open: runOpen })

import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from '@posthorn/testkit'
import type { Fault } from '../fault.ts'
import type { Behaviour, RawAnswer } from '../ledger-receiver.ts'
import type { Field } from '../start-field.ts'

export const receiverFaults: Fault[] = [
  {
    name: 'receiver-cut-off',
    async inject({ receiver }, random) {
      await receiver.shut()
      await delay(random.between(500, 3_000))
      await receiver.open()
    },
  },
  {
    name: 'receiver-resetting',
    inject: (field, random) => behaveForAWhile(field, random, { kind: 'resetting' }),
  },
  {
    name: 'receiver-silent',
    inject: (field, random) => behaveForAWhile(field, random, { kind: 'silent' }),
  },
  {
    name: 'receiver-late',
    inject: (field, random) =>
      behaveForAWhile(field, random, {
        kind: 'answering',
        status: 200,
        delayMs: field.attemptTimeoutMs + random.between(200, 1_000),
      }),
  },
  {
    name: 'receiver-failing',
    inject: (field, random) =>
      behaveForAWhile(field, random, {
        kind: 'answering',
        status: random.pick([400, 404, 429, 500, 502, 503, 504, 301]),
        headers: random.pick<Record<string, string>>([
          {},
          { 'retry-after': '1' },
          { 'retry-after': '1e300' },
          { 'retry-after': '-1' },
          { location: 'http://127.0.0.1:1/elsewhere' },
        ]),
      }),
  },
  {
    name: 'poison-response',
    inject: (field, random) =>
      behaveForAWhile(field, random, { kind: 'raw', answer: () => random.pick(POISON_ANSWERS) }),
  },
]

const POISON_ANSWERS: RawAnswer[] = [
  // Only the first 16 KiB of a body are read; by then the status has told everything.
  poison(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${'8\r\nxxxxxxxx\r\n'.repeat(10_000)}`, true),
  poison(`HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n${'8\r\nxxxxxxxx\r\n'.repeat(10_000)}`),
  // Not HTTP.
  poison('SSH-2.0-OpenSSH_9.9\r\n'),
  poison('\0\0\0\0\r\n\r\n'),
  // A body that is too short, or no body at all.
  poison('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nshort'),
  poison('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'),
  // Smuggling, and headers without measure.
  poison('HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello'),
  poison(`HTTP/1.1 200 OK\r\n${'x-filler: y\r\n'.repeat(20_000)}\r\n`),
  poison('HTTP/1.1 99999999999999999999 OK\r\n\r\n'),
  poison('HTTP/1.1 100 Continue\r\n\r\n'.repeat(1_000)),
  poison('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n'),
  poison('HTTP/1.1 500 \u0000\u0001\u0002\r\nx: \u0000\r\n\r\n\u0000\u0000'),
]

function poison(text: string, takes = false): RawAnswer {
  return { bytes: Buffer.from(text, 'latin1'), takes }
}

async function behaveForAWhile({ receiver }: Field, random: Random, behaviour: Behaviour): Promise<void> {
  receiver.behave(behaviour)
  await delay(random.between(500, 3_000))
  receiver.behave({ kind: 'taking' })
}

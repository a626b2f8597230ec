import { createSocket, type RemoteInfo } from 'node:dgram'
import { once } from 'node:events'
import { isIP } from 'node:net'

/** What a name is answered with. */
type DnsAnswer =
  | { addresses: readonly string[] }
  /** Another name, and in the same answer the addresses of that. */
  | { cname: string; addresses: readonly string[] }
  /** No answer, one that is no DNS, or "there is no such name". */
  | { broken: 'silent' | 'garbage' | 'missing' | 'failure' }

/** @param times how often its A records were asked for before */
export type DnsZone = (name: string, times: number) => DnsAnswer

export interface DnsServer {
  port: number
  /** Questions for A records, by name. */
  asked: ReadonlyMap<string, number>
  close(): Promise<void>
}

const TYPES = { A: 1, CNAME: 5, AAAA: 28 }
const CODES = { failure: 2, missing: 3 }

/** An authoritative answerer on loopback (RFC 1035), for one question a datagram. */
export async function startDnsServer(zone: DnsZone): Promise<DnsServer> {
  const asked = new Map<string, number>()
  const socket = createSocket('udp4')
  socket
    .on('error', () => {})
    .on('message', (query: Buffer, from: RemoteInfo) => {
      const question = readQuestion(query)
      if (question === undefined) return
      const { name, type } = question
      const times = asked.get(name) ?? 0
      if (type === TYPES.A) asked.set(name, times + 1)
      const reply = encodeReply(query, question, zone(name, times))
      if (reply !== undefined) socket.send(reply, from.port, from.address)
    })
  await once(socket.bind(0, '127.0.0.1'), 'listening')
  return {
    port: socket.address().port,
    asked,
    async close() {
      const closed = once(socket, 'close')
      socket.close()
      await closed
    },
  }
}

interface Question {
  name: string
  type: number
  /** Where it ends in the query. */
  end: number
}

function readQuestion(query: Buffer): Question | undefined {
  const labels: string[] = []
  let at = 12
  for (let length = query[at]; length !== undefined && length > 0 && length < 64; length = query[at]) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  if (at + 5 > query.length) return undefined
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 }
}

function encodeReply(query: Buffer, { type, end }: Question, answer: DnsAnswer): Buffer | undefined {
  if ('broken' in answer) {
    if (answer.broken === 'silent') return undefined
    if (answer.broken === 'garbage') return Buffer.concat([query.subarray(0, 2), Buffer.alloc(64, 0xff)])
    return Buffer.concat([header(query, CODES[answer.broken], 0), query.subarray(12, end)])
  }
  const family = type === TYPES.A ? 4 : type === TYPES.AAAA ? 6 : 0
  const records: Buffer[] = []
  // Names are pointers to the one in the question, or to where the alias stands.
  let owner = 0xc00c
  if ('cname' in answer) {
    const target = Buffer.concat([
      ...answer.cname.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label)])),
      Buffer.of(0),
    ])
    records.push(record(owner, TYPES.CNAME, target))
    owner = 0xc000 + end + 12
  }
  for (const address of answer.addresses) {
    if (isIP(address) === family) records.push(record(owner, type, addressBytes(address)))
  }
  return Buffer.concat([header(query, 0, records.length), query.subarray(12, end), ...records])
}

function header(query: Buffer, code: number, answers: number): Buffer {
  const bytes = Buffer.alloc(12)
  query.copy(bytes, 0, 0, 2)
  // An authoritative answer; recursion was wished for and is there.
  bytes.writeUInt16BE(0x8580 | code, 2)
  bytes.writeUInt16BE(1, 4)
  bytes.writeUInt16BE(answers, 6)
  return bytes
}

function record(owner: number, type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12)
  head.writeUInt16BE(owner, 0)
  head.writeUInt16BE(type, 2)
  head.writeUInt16BE(1, 4)
  // A time to live of 0: asked for anew each time.
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  // The URL parser writes out dotted tails.
  const text = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail] = text.split('::')
  const groups = (part: string) => (part === '' ? [] : part.split(':'))
  const rest = tail === undefined ? [] : groups(tail)
  const zeros = Array<string>(8 - groups(head).length - rest.length).fill('0')
  const all = tail === undefined ? groups(head) : [...groups(head), ...zeros, ...rest]
  const bytes = Buffer.alloc(16)
  for (const [at, group] of all.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), at * 2)
  return bytes
}

import { verify } from '@posthorn/signing'
import { waitFor } from '@posthorn/testkit'
import { deliverOnce } from './deliver-to.ts'
import { type Mark, nothingFound } from './mark.ts'
import type { Platform } from './start-platform.ts'
import { startResponder } from './start-responder.ts'

const RESERVED = [
  ...['host', 'content-length', 'transfer-encoding', 'connection', 'te', 'trailer', 'upgrade', 'expect'],
  ...[
    'keep-alive',
    'proxy-authorization',
    'proxy-connection',
    'proxy-anything',
    'content-type',
    'content-encoding',
  ],
  ...[
    'accept-encoding',
    'http2-settings',
    'webhook-id',
    'webhook-timestamp',
    'webhook-signature',
    'webhook-x',
  ],
]

const EVIL = 'evil-value'

const inCases = (name: string) => [
  name,
  name.toUpperCase(),
  name.replace(/\b\w/g, (letter) => letter.toUpperCase()),
  [...name].map((letter, at) => (at % 2 === 0 ? letter.toUpperCase() : letter)).join(''),
]

/** Each with one that no HTTP message can hold, or none of ours. */
const malformed: [name: string, value: string][] = [
  ['', 'x'],
  ['a b', 'x'],
  ['a:b', 'x'],
  ['a\r\nb', 'x'],
  ['a\0', 'x'],
  ['\u00e4', 'x'],
  ['\uff48ost', 'x'],
  ['(a)', 'x'],
  ['a'.repeat(129), 'x'],
  [' host', 'x'],
  ['host ', 'x'],
  ['host\t', 'x'],
  ...[...Array(32).keys(), 127].map((code): [string, string] => ['x-a', `a${String.fromCharCode(code)}b`]),
  ['x-a', ' a'],
  ['x-a', 'a '],
  ['x-a', 'caf\u00e9'],
  ['x-a', '\u2028'],
  ['x-a', '\ud800'],
  ['x-a', 'a\r\nx-injected: 1'],
  ['x-a', 'a\n\nPOST / HTTP/1.1'],
  ['x-a', 'v'.repeat(2_049)],
].map(([name, value]) => [name!, value!])

/** Headers of an endpoint: what is refused at registration, and what is sent of those that got past it. */
export async function tryHeaders(platform: Platform): Promise<{ headers: number; marks: Mark[] }> {
  await platform.make('POST', '/v1/event-types', { name: 'abuse.headers' })
  await platform.make('POST', '/v1/owners', { uid: 'headers' })
  const register = (headers: object) =>
    platform.request('POST', '/v1/owners/headers/endpoints', {
      body: { url: 'http://127.77.0.1:9/', eventTypes: ['abuse.headers'], headers, enabled: false },
    })
  const letThrough: string[] = []
  const tried = [...RESERVED.flatMap(inCases).map((name): [string, string] => [name, EVIL]), ...malformed]
  for (const [name, value] of tried) {
    const { status, text } = await register({ [name]: value })
    if (status !== 422) letThrough.push(`${JSON.stringify([name, value.slice(0, 40)])}: ${status} ${text}`)
    if (text.includes(EVIL))
      letThrough.push(`${JSON.stringify(name)}: the refusal repeats the value: ${text}`)
  }
  const many = await register(Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`x-${at}`, 'v'])))
  if (many.status !== 422) letThrough.push(`33 headers: ${many.status}`)
  const won = await whatIsSent(platform)
  const headers = tried.length + 1 + won.tried
  return {
    headers,
    marks: [
      nothingFound('headers let through at registration', tried.length + 1, letThrough),
      nothingFound('headers that won at sending', won.tried, won.findings),
      nothingFound('deliveries that do not verify', 1, await whatDoesNotVerify(platform)),
    ],
  }
}

/** Headers that are in the database all the same. */
async function whatIsSent(platform: Platform): Promise<{ tried: number; findings: string[] }> {
  const findings: string[] = []
  const names = RESERVED.flatMap(inCases)
  const attempt = async (headers: Record<string, string>) => {
    const running = await startResponder({
      name: 'headers',
      outcomes: [],
      onRequest: (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
    })
    try {
      const outcome = await deliverOnce(platform, running.url, headers)
      return { outcome, request: running.lastRequest }
    } finally {
      await running.close()
    }
  }
  const sent = await attempt({ ...Object.fromEntries(names.map((name) => [name, EVIL])), 'x-own': 'kept' })
  if (sent.outcome !== 'delivered') findings.push(`reserved headers: ${sent.outcome}`)
  if (sent.request.includes(EVIL)) findings.push(`a reserved header was sent: ${sent.request}`)
  if (!sent.request.includes('x-own: kept')) findings.push('the header that may be sent was not')
  const lines = sent.request.split('\r\n\r\n')[0]!.toLowerCase().split('\r\n').slice(1)
  const counts = Map.groupBy(lines, (line) => line.split(':')[0]!)
  for (const name of [
    'host',
    'content-length',
    'content-type',
    'accept-encoding',
    'webhook-id',
    'webhook-timestamp',
    'webhook-signature',
  ]) {
    if (counts.get(name)?.length !== 1)
      findings.push(`${name} was sent ${counts.get(name)?.length ?? 0} times`)
  }
  if (!lines.includes('accept-encoding: identity')) findings.push('a compressed answer was asked for')
  const split = await attempt({ 'x-a': 'b\r\nx-injected: 1' })
  if (split.outcome !== 'invalid_request' || split.request !== '') {
    findings.push(`a value with a line end: ${split.outcome}, ${split.request}`)
  }
  return { tried: names.length + 2, findings }
}

/** With the secret that the receiver was given, as receivers do. */
async function whatDoesNotVerify(platform: Platform): Promise<string[]> {
  const running = await startResponder({
    name: 'verifies',
    outcomes: [],
    onRequest: (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
  })
  try {
    const name = 'abuse.verified'
    await platform.make('POST', '/v1/event-types', { name })
    const body = { url: running.url, eventTypes: [name] }
    const { secret } = await platform.make('POST', '/v1/owners/headers/endpoints', body)
    await platform.make('POST', '/v1/messages', { owner: 'headers', type: name, data: { at: 1 } })
    await waitFor(() => running.requests > 0, { timeoutMs: 20_000, message: 'a delivery to verify' })
    const [head = '', sent = ''] = running.lastRequest.split('\r\n\r\n')
    const headers = Object.fromEntries(
      head
        .split('\r\n')
        .slice(1)
        .map((line) => line.split(': ') as [string, string]),
    )
    verify(sent, headers, secret as string)
    return []
  } catch (error) {
    return [(error as Error).message]
  } finally {
    await running.close()
  }
}

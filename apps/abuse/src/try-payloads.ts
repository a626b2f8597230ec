import { once } from 'node:events'
import { connect } from 'node:net'
import { waitFor } from '@posthorn/testkit'
import { type Mark, nothingFound } from './mark.ts'
import type { Platform } from './start-platform.ts'
import { startResponder } from './start-responder.ts'

const EVENT_TYPE = 'abuse.payload'
const OWNER = 'payloads'

/** A body that is refused with one of these, or of which `data` arrives as it was given. */
interface PayloadInput {
  name: string
  data: string | Buffer
  expected: 'kept' | readonly number[]
}

function payloadInputs(bytesMax: number): PayloadInput[] {
  const nested = (depth: number, open: string, close: string) => open.repeat(depth) + close.repeat(depth)
  const keys = (count: number) => `{${Array.from({ length: count }, (_, at) => `"k${at}":0`).join(',')}}`
  const kept = (name: string, data: string): PayloadInput => ({ name, data, expected: 'kept' })
  const refused = (name: string, data: string | Buffer, ...statuses: number[]): PayloadInput => ({
    ...{ name, data },
    expected: statuses,
  })
  const rest = Buffer.byteLength(envelope(''))
  return [
    refused('5,000 arrays deep', nested(5_000, '[', ']'), 422),
    refused('5,000 objects deep', nested(5_000, '{"a":', '}').replace(':}', ':1}'), 422),
    refused('100,000 arrays deep', nested(100_000, '[', ']'), 422),
    refused('brackets that never close', '['.repeat(100_000), 400, 422),
    kept('1,000 keys', keys(1_000)),
    // With `owner`, `type` and `data`: the limit, and one more.
    kept('9,997 keys', keys(9_997)),
    refused('9,998 keys', keys(9_998), 422),
    refused('a million keys', keys(1_000_000), 422),
    refused('a million times the same key', `{${'"a":0,'.repeat(1_000_000)}"a":1}`, 422),
    // Taken whole or refused for its size.
    refused('a million empty arrays', `[${'[],'.repeat(1_000_000)}[]]`, 202, 413, 422),
    kept('duplicate keys', '{"a":1,"a":2,"\\u0061":3}'),
    refused('__proto__', '{"__proto__":{"admin":true}}', 422),
    refused('__proto__, escaped', '{"\\u005f_proto__":1}', 422),
    refused('__proto__ in an array', '[{"a":[{"__proto__":null}]}]', 422),
    kept('constructor and prototype', '{"constructor":{"prototype":{"admin":true}}}'),
    kept('toString and hasOwnProperty', '{"toString":1,"hasOwnProperty":2,"then":3}'),
    kept('big integers', '[9007199254740993,123456789012345678901234567890,-0,0.1000000000000000055]'),
    kept('1e400', '[1e400,-1E+400,1e-400,2.50,1.0]'),
    kept('a number of 10,000 digits', `1${'0'.repeat(10_000)}`),
    kept('lone surrogates, escaped', '["\\ud800","\\udfff","\\udc00\\ud800"]'),
    kept('every escape', '"\\u0000\\u0001\\b\\f\\n\\r\\t\\"\\\\\\/\\u2028\\u2029\\ufeff"'),
    kept('raw line separators', '"\u2028\u2029\u007f\u0085"'),
    kept('right-to-left and zero-width', '"\u202e\u200b\u2066\ufeff"'),
    kept('emoji and astral', '"\u{1f600}\u{10ffff}"'),
    kept('SQL', '"\'; DROP TABLE messages; --"'),
    kept('HTML', '"<script>alert(1)</script><!--"'),
    kept('null', 'null'),
    kept('an empty string', '""'),
    kept('an empty key', '{"":{"":[]}}'),
    kept('a template', '"{{7*7}}%00../../etc/passwd"'),
    refused('invalid UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22]), 400),
    refused('an overlong UTF-8 slash', Buffer.from([0x22, 0xc0, 0xaf, 0x22]), 400),
    refused('a surrogate in UTF-8', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), 400),
    refused('a raw control character', '"\u0001"', 400),
    refused('a raw NUL', '"\0"', 400),
    refused('NaN', 'NaN', 400),
    refused('a comment', '1/*x*/', 400),
    refused('single quotes', "'a'", 400),
    refused('a leading zero', '01', 400),
    refused('a plus sign', '+1', 400),
    refused('a trailing comma', '[1,]', 400),
    refused('two values', '1 2', 400),
    refused('nothing', '', 400),
    refused('a byte order mark', '\ufeff1', 400),
    refused('the limit and one byte', `"${'x'.repeat(bytesMax - rest - 1)}"`, 413),
    refused('more members: ownerId', '1,"ownerId":"x"', 422),
    refused('more members: state', '1,"state":"delivered"', 422),
  ]
}

function envelope(data: string): string {
  return `{"owner":"${OWNER}","type":"${EVENT_TYPE}","data":${data}}`
}

const CONTROL = [...Array(32).keys(), 127].map((code) => String.fromCharCode(code))
const TEXTS = [
  "'; DROP TABLE owners; --",
  '" OR 1=1 --',
  '<script>alert(1)</script>',
  '{{7*7}}',
  '%n%s',
  '\ud800',
  '\u202e',
]

/** Bodies, fields and raw requests to the API, and what of them arrives at a receiver. */
export async function tryPayloads(platform: Platform): Promise<{ payloads: number; marks: Mark[] }> {
  await platform.make('POST', '/v1/event-types', { name: EVENT_TYPE })
  await platform.make('POST', '/v1/owners', { uid: OWNER })
  const bodies = await tryBodies(platform)
  const fields = await tryFields(platform)
  const raw = await tryRawRequests(platform)
  const intact = await isIntact(platform)
  return {
    payloads: bodies.tried + fields.tried + raw.tried,
    marks: [
      nothingFound('payloads not refused, or not kept byte by byte', bodies.tried, bodies.findings),
      nothingFound('fields that were taken and should not, or the reverse', fields.tried, fields.findings),
      nothingFound('raw requests that were taken, or broke something', raw.tried, raw.findings),
      nothingFound('what does not work afterwards', 1, intact),
    ],
  }
}

interface Tried {
  tried: number
  findings: string[]
}

async function tryBodies(platform: Platform): Promise<Tried> {
  await using stack = new AsyncDisposableStack()
  const arrived: string[] = []
  const running = await startResponder({
    name: 'payloads',
    outcomes: [],
    onRequest: (socket) => {
      arrived.push(running.lastRequest.slice(running.lastRequest.indexOf('\r\n\r\n') + 4))
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
    },
  })
  stack.defer(() => running.close())
  await platform.make('POST', `/v1/owners/${OWNER}/endpoints`, { url: running.url, eventTypes: [EVENT_TYPE] })
  const findings: string[] = []
  const inputs = payloadInputs(platform.payloadBytesMax)
  for (const { name, data, expected } of inputs) {
    const [head, tail] = envelope('\0').split('\0') as [string, string]
    const body = Buffer.concat([Buffer.from(head), Buffer.from(data), Buffer.from(tail)])
    const { status, text } = await platform.request('POST', '/v1/messages', { body })
    const wanted = expected === 'kept' ? [202] : expected
    if (!wanted.includes(status)) findings.push(`${name}: ${status} ${text}`)
    if (status !== 202) continue
    const given = Buffer.from(data).toString('latin1')
    const isThere = () => arrived.some((bytes) => bytes.endsWith(`,"data":${given}}`))
    await waitFor(isThere, { timeoutMs: 20_000, message: `${name} to arrive` }).catch(() => {
      findings.push(`${name}: its bytes did not arrive`)
    })
    arrived.length = 0
  }
  return { tried: inputs.length, findings }
}

async function tryFields(platform: Platform): Promise<Tried> {
  const findings: string[] = []
  let tried = 0
  const expectStatus = async (
    what: string,
    statuses: readonly number[],
    path: string,
    body: unknown,
    headers = {},
  ) => {
    tried += 1
    const { status, text } = await platform.request('POST', path, { body, headers })
    if (!statuses.includes(status)) findings.push(`${what}: ${status} ${text}`)
  }
  const endpoints = `/v1/owners/${OWNER}/endpoints`
  const endpoint = (more: object) => ({
    ...{ url: 'http://127.77.0.1:9/', eventTypes: [EVENT_TYPE], enabled: false },
    ...more,
  })
  const message = (more: object) => ({ owner: OWNER, type: 'abuse.elsewhere', data: 1, ...more })
  await platform.make('POST', '/v1/event-types', { name: 'abuse.elsewhere' })

  // Each limit: the last that is taken, and one more.
  const limits: [
    what: string,
    path: string,
    most: number,
    make: (length: number) => unknown,
    taken: number,
  ][] = [
    ['uid of an owner', '/v1/owners', 128, (length) => ({ uid: 'u'.repeat(length) }), 201],
    [
      'name of an owner',
      '/v1/owners',
      200,
      (length) => ({ uid: `n${length}`, name: 'n'.repeat(length) }),
      201,
    ],
    ['name of an event type', '/v1/event-types', 128, (length) => ({ name: 'n'.repeat(length) }), 201],
    [
      'description of an event type',
      '/v1/event-types',
      2_000,
      (length) => ({ name: `d${length}`, description: 'd'.repeat(length) }),
      201,
    ],
    ['uid of an endpoint', endpoints, 128, (length) => endpoint({ uid: 'u'.repeat(length) }), 201],
    [
      'description of an endpoint',
      endpoints,
      2_000,
      (length) => endpoint({ description: 'd'.repeat(length) }),
      201,
    ],
    [
      'URL',
      endpoints,
      2_048,
      (length) => endpoint({ url: `http://127.77.0.1:9/${'u'.repeat(length - 20)}` }),
      201,
    ],
    ['header name', endpoints, 128, (length) => endpoint({ headers: { ['h'.repeat(length)]: 'v' } }), 201],
    ['header value', endpoints, 2_048, (length) => endpoint({ headers: { h: 'v'.repeat(length) } }), 201],
    [
      'headers',
      endpoints,
      32,
      (length) =>
        endpoint({ headers: Object.fromEntries(Array.from({ length }, (_, at) => [`h${at}`, 'v'])) }),
      201,
    ],
    ['id of a message', '/v1/messages', 255, (length) => message({ id: 'i'.repeat(length) }), 202],
    [
      'messages in a batch',
      '/v1/messages/batch',
      1_000,
      (length) => ({ messages: Array.from({ length }, () => message({})) }),
      200,
    ],
    [
      'depth',
      '/v1/messages',
      63,
      (depth) => message({ data: JSON.parse('['.repeat(depth) + ']'.repeat(depth)) }),
      202,
    ],
  ]
  for (const [what, path, most, make, taken] of limits) {
    await expectStatus(`${what} of ${most}`, [taken], path, make(most))
    await expectStatus(`${what} of ${most + 1}`, [413, 422], path, make(most + 1))
  }

  for (const text of [...CONTROL, ...TEXTS]) {
    const shown = JSON.stringify(text)
    const isControl = CONTROL.includes(text)
    const lines = text === '\n' || text === '\t'
    await expectStatus(
      `id ${shown}`,
      /^[\x21-\x7e]+$/.test(text) ? [202] : [422],
      '/v1/messages',
      message({ id: `a${text}b` }),
    )
    await expectStatus(`uid ${shown}`, [422], '/v1/owners', { uid: `a${text}b` })
    await expectStatus(`event type ${shown}`, [422], '/v1/event-types', { name: `a${text}b` })
    await expectStatus(`owner ${shown}`, [422], '/v1/messages', message({ owner: `a${text}b` }))
    await expectStatus(`name ${shown}`, isControl ? [422] : [201], '/v1/owners', {
      uid: `t${tried}`,
      name: `a${text}b`,
    })
    await expectStatus(
      `description ${shown}`,
      isControl && !lines ? [422] : [201],
      endpoints,
      endpoint({ description: `a${text}b` }),
    )
    tried += 1
    const query = encodeURIComponent(`a${text.replace('\ud800', '\ufffd')}b`)
    for (const list of ['messages', 'deliveries']) {
      for (const filter of ['owner', 'eventType', 'cursor', 'after']) {
        const { status, text: said } = await platform.request('GET', `/v1/${list}?${filter}=${query}`)
        if (status !== 400 && status !== 422) findings.push(`${list}?${filter}=${query}: ${status} ${said}`)
      }
    }
  }
  // What is kept of them is kept as it was.
  const name = `a${TEXTS.slice(0, 5).join('')}b`
  const made = await platform.make('POST', '/v1/owners', { uid: 'texts', name })
  const read = await platform.request('GET', '/v1/owners/texts')
  if (made.name !== name || read.body.name !== name) findings.push(`a name was changed: ${read.text}`)
  if (read.headers.get('x-content-type-options') !== 'nosniff') findings.push('an answer may be sniffed')
  return { tried: tried + 1, findings }
}

/** What no client library sends. Each is answered with an error, or not at all; the API lives. */
async function tryRawRequests(platform: Platform): Promise<Tried> {
  const auth = `authorization: Bearer ${platform.secrets.apiKey}\r\n`
  const json = 'content-type: application/json\r\n'
  const body = envelope('1').replace(EVENT_TYPE, 'abuse.elsewhere')
  const post = (headers: string, sent = body) =>
    `POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${auth}${json}${headers}\r\n${sent}`
  const length = `content-length: ${body.length}\r\n`
  const requests: Record<string, string> = {
    'length and chunks': post(`${length}transfer-encoding: chunked\r\n`, '0\r\n\r\n'),
    'two lengths': post(`${length}content-length: 1\r\n`),
    'a length with a sign': post(`content-length: +${body.length}\r\n`),
    'chunks of no number': post('transfer-encoding: chunked\r\n', 'zz\r\n'),
    'an unknown encoding': post('transfer-encoding: gzip, chunked, x\r\n', ''),
    'NUL in a header': post(`x: a\0b\r\n${length}`),
    'a bare line end in a header': post(`x: a\rb\r\n${length}`),
    'a space before the colon': post(`x : a\r\n${length}`),
    'a key with a line end': post(`idempotency-key: a\x01b\r\n${length}`),
    'a key with a space': post(`idempotency-key: a b\r\n${length}`),
    'a key that is too long': post(`idempotency-key: ${'k'.repeat(256)}\r\n${length}`),
    'a key that is not ASCII': post(`idempotency-key: \xff\xfe\r\n${length}`),
    'headers of 1 MB': post(`x: ${'y'.repeat(1_000_000)}\r\n${length}`),
    '10,000 headers': post(`${'x: y\r\n'.repeat(10_000)}${length}`),
    'no host': `GET /v1/owners HTTP/1.1\r\n${auth}\r\n`,
    'a path of 1 MB': `GET /${'a'.repeat(1_000_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
    'a path with a bad escape': `GET /v1/owners/%zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${auth}\r\n`,
    'a path with NUL': `GET /v1/owners/%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${auth}\r\n`,
    'a path up and out': `GET /v1/../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${auth}\r\n`,
    'a whole URL as path': `GET http://127.0.0.1:1/v1/none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${auth}\r\n`,
    CONNECT: 'CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: x\r\n\r\n',
    TRACE: `TRACE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
    'a method of its own': `FROB /v1/owners HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${auth}\r\n`,
    'HTTP/9.9': 'GET / HTTP/9.9\r\nhost: x\r\n\r\n',
    TLS: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'a body of plain text': post(length).replace(json, 'content-type: text/plain\r\n'),
    'a body of no type': post(length).replace(json, ''),
    'a compressed body': post(`${length}content-encoding: gzip\r\n`),
  }
  const findings: string[] = []
  for (const [name, request] of Object.entries(requests)) {
    const answer = await exchange(platform.url, request)
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1])
    // No answer at all is one, too.
    if (answer !== '' && !(status >= 400 && status < 500)) findings.push(`${name}: ${answer.slice(0, 200)}`)
  }
  return { tried: Object.keys(requests).length, findings }
}

async function exchange(url: string, request: string): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let answer = ''
  socket.on('error', () => {})
  socket.on('data', (data) => {
    answer += data.toString('latin1')
    // Whoever answers a request that cannot be read closes; who keeps waiting has answered.
    if (answer.includes('\r\n\r\n')) socket.destroy()
  })
  socket.setTimeout(3_000, () => socket.destroy())
  socket.write(request, 'latin1')
  await once(socket, 'close')
  return answer
}

async function isIntact(platform: Platform): Promise<string[]> {
  const ready = await platform.request('GET', '/readyz')
  const owner = await platform.request('GET', `/v1/owners/${OWNER}`)
  return ready.status === 200 && owner.status === 200
    ? []
    : [`/readyz ${ready.status}, the owner ${owner.status}`]
}

import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

/** An endpoint that means harm, or knows no better. */
export interface Responder {
  name: string
  /** What an attempt may end as. */
  outcomes: readonly string[]
  tls?: TlsOptions
  /** Called with the bare connection, before TLS. */
  onConnection?: (socket: Socket) => void
  /** Called when a whole request came in. */
  onRequest: (socket: Socket) => void
  /** TLS is expected of it, which it does not speak. */
  isTlsByName?: boolean
  /** What the body that it sends begins with: four bytes, in hex. */
  bodyStart?: string
}

const OK = 'HTTP/1.1 200 OK\r\n'
const whole = (status: string, headers = '', body = '') =>
  `HTTP/1.1 ${status}\r\n${headers}content-length: ${Buffer.byteLength(body, 'latin1')}\r\n\r\n${body}`

const says = (text: string) => (socket: Socket) => void socket.write(text, 'latin1')
const saysAndEnds = (text: string) => (socket: Socket) => void socket.end(text, 'latin1')
const saysAndResets = (text: string) => (socket: Socket) => {
  socket.write(text, 'latin1', () => socket.resetAndDestroy())
}
const silent = () => {}

/** As fast as it is taken. */
const floods = (head: string, part: string) => (socket: Socket) => {
  const block = part.repeat(Math.ceil(16_384 / part.length))
  socket.write(head, 'latin1')
  const more = () => {
    while (!socket.destroyed && socket.write(block, 'latin1'));
  }
  socket.on('drain', more)
  more()
}

const drips =
  (head: string, part: string, everyMs = 1_000) =>
  (socket: Socket) => {
    socket.write(head, 'latin1')
    const timer = setInterval(() => socket.write(part, 'latin1'), everyMs)
    socket.on('close', () => clearInterval(timer))
  }

const answered = (name: string, outcome: 'delivered' | 'rejected', text: string): Responder => ({
  name,
  outcomes: [outcome],
  onRequest: says(text),
})
const notHttp = (name: string, text: string): Responder => ({
  name,
  outcomes: ['invalid_response'],
  onRequest: says(text),
})
const cut = (name: string, onRequest: Responder['onRequest']): Responder => ({
  name,
  outcomes: ['reset'],
  onRequest,
})

/** 64 MiB each, in some kilobytes. */
const zeros = Buffer.alloc(64 * 1024 * 1024)
const gzipped = gzipSync(zeros)
const brotlied = brotliCompressSync(zeros, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } })
const inflatable = (name: string, encoding: string, body: Buffer): Responder => ({
  ...answered(
    name,
    'delivered',
    `${OK}content-encoding: ${encoding}\r\ncontent-length: ${body.length}\r\n\r\n${body.toString('latin1')}`,
  ),
  bodyStart: body.subarray(0, 4).toString('hex'),
})

const certificate = (name: string): TlsOptions => ({
  key: readFileSync(new URL('./certificates/key.pem', import.meta.url)),
  cert: readFileSync(new URL(`./certificates/${name}.pem`, import.meta.url)),
})
const answersOk = says(whole('200 OK'))
const overTls = (name: string, tls: TlsOptions, outcomes: readonly string[] = ['tls_failed']): Responder => ({
  name,
  ...{ outcomes, tls },
  onRequest: answersOk,
})
const oldTls = (version: 'TLSv1' | 'TLSv1.1'): TlsOptions => ({
  ...certificate('good'),
  minVersion: version,
  maxVersion: version,
  ciphers: 'ALL:@SECLEVEL=0',
})

/** On a port where TLS is expected; what is said is not. */
const insteadOfTls = (
  name: string,
  outcomes: readonly string[],
  onConnection: Responder['onRequest'],
): Responder => ({ name, outcomes, isTlsByName: true, onConnection, onRequest: silent })

export const EXPIRED = 'expired certificate'

export const responders: readonly Responder[] = [
  // Connections.
  {
    name: 'closes at once',
    outcomes: ['reset'],
    onConnection: (socket) => void socket.end(),
    onRequest: silent,
  },
  {
    name: 'resets at once',
    outcomes: ['reset'],
    onConnection: (socket) => void socket.resetAndDestroy(),
    onRequest: silent,
  },
  cut('closes after the request', (socket) => void socket.end()),
  cut('resets after the request', (socket) => void socket.resetAndDestroy()),
  cut('closes in the status line', saysAndEnds('HTTP/1.1 20')),
  cut('closes in the headers', saysAndEnds(`${OK}x-a`)),
  cut('resets in the headers', saysAndResets(`${OK}x-a`)),
  cut('closes in a body with a length', saysAndEnds(`${OK}content-length: 9\r\n\r\nabc`)),
  cut('resets in a body with a length', saysAndResets(`${OK}content-length: 9\r\n\r\nabc`)),
  cut('closes in a chunk', saysAndEnds(`${OK}transfer-encoding: chunked\r\n\r\n5\r\nab`)),
  cut('resets in a chunk', saysAndResets(`${OK}transfer-encoding: chunked\r\n\r\n5\r\nab`)),
  cut('says close and cuts the body', saysAndEnds(`${OK}connection: close\r\ncontent-length: 9\r\n\r\nabc`)),
  // Time.
  { name: 'never answers', outcomes: ['timeout'], onRequest: silent },
  { name: 'headers, one byte a second', outcomes: ['timeout'], onRequest: drips(`${OK}x: `, 'y') },
  {
    name: 'a 1xx every 400 ms',
    outcomes: ['timeout'],
    onRequest: drips('', 'HTTP/1.1 102 Processing\r\n\r\n', 400),
  },
  { name: 'body, one byte a second', outcomes: ['body_timeout'], onRequest: drips(`${OK}\r\n`, 'x') },
  {
    name: 'chunks, one byte a second',
    outcomes: ['body_timeout'],
    onRequest: drips(`${OK}transfer-encoding: chunked\r\n\r\n`, '1\r\nx\r\n'),
  },
  {
    name: 'stops in the body',
    outcomes: ['body_timeout'],
    onRequest: says(`${OK}content-length: 9\r\n\r\nabc`),
  },
  {
    name: 'a body of a length that never comes',
    outcomes: ['body_timeout'],
    onRequest: says(`${OK}content-length: 9007199254740991\r\n\r\nabc`),
  },
  // Without an end.
  {
    name: 'endless 1xx',
    outcomes: ['invalid_response'],
    onRequest: floods('', 'HTTP/1.1 103 Early Hints\r\n\r\n'),
  },
  notHttp(
    '20 times 1xx, then an answer',
    `${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(20)}${whole('200 OK')}`,
  ),
  answered('headers of 12 KB', 'delivered', whole('200 OK', `x: ${'y'.repeat(12_000)}\r\n`)),
  answered('a body of 64 KB', 'delivered', whole('200 OK', '', 'x'.repeat(65_536))),
  { name: 'endless header', outcomes: ['headers_too_large'], onRequest: floods(`${OK}x: `, 'y') },
  { name: 'endless headers', outcomes: ['headers_too_large'], onRequest: floods(OK, 'x-a: yyyyyyyy\r\n') },
  answered('3,000 headers', 'delivered', whole('200 OK', 'a: b\r\n'.repeat(3_000))),
  {
    name: '10,000 headers',
    outcomes: ['headers_too_large'],
    onRequest: says(whole('200 OK', 'a: b\r\n'.repeat(10_000))),
  },
  {
    name: 'endless empty headers',
    outcomes: ['headers_too_large', 'invalid_response'],
    onRequest: floods(OK, 'a:\r\n'),
  },
  {
    name: 'endless status line',
    outcomes: ['invalid_response'],
    onRequest: floods('HTTP/1.1 200 ', 'OK'),
  },
  {
    name: 'endless trailers',
    outcomes: ['headers_too_large'],
    onRequest: floods(`${OK}transfer-encoding: chunked\r\n\r\n0\r\n`, 'x-a: yyyyyyyy\r\n'),
  },
  {
    name: 'endless chunk extension',
    outcomes: ['invalid_response'],
    onRequest: floods(`${OK}transfer-encoding: chunked\r\n\r\n1;x=`, 'y'),
  },
  { name: 'endless body', outcomes: ['delivered'], onRequest: floods(`${OK}\r\n`, 'x') },
  {
    name: 'endless chunks',
    outcomes: ['delivered'],
    onRequest: floods(`${OK}transfer-encoding: chunked\r\n\r\n`, `400\r\n${'x'.repeat(0x400)}\r\n`),
  },
  inflatable('gzip bomb', 'gzip', gzipped),
  inflatable('brotli bomb', 'br', brotlied),
  inflatable('gzip bomb, twice compressed', 'gzip, gzip', gzipSync(gzipped)),
  answered('says gzip and is not', 'delivered', whole('200 OK', 'content-encoding: gzip\r\n', 'plain')),
  // Not HTTP/1.1, or not as it should be.
  notHttp('speaks SSH', 'SSH-2.0-OpenSSH_9.6\r\n'),
  notHttp('speaks SMTP', '220 mail ESMTP\r\n'),
  notHttp('speaks Redis', '-ERR unknown command\r\n'),
  notHttp('speaks HTTP/2', '\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff'),
  notHttp('HTTP/0.9', '<html></html>'),
  notHttp('HTTP/3.7', 'HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n'),
  notHttp('status 099', 'HTTP/1.1 099 No\r\ncontent-length: 0\r\n\r\n'),
  notHttp('status 2000', 'HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n'),
  notHttp('status -1', 'HTTP/1.1 -01 OK\r\ncontent-length: 0\r\n\r\n'),
  notHttp('status ABC', 'HTTP/1.1 ABC OK\r\ncontent-length: 0\r\n\r\n'),
  notHttp('100 Continue unasked', `HTTP/1.1 100 Continue\r\n\r\n${whole('200 OK')}`),
  notHttp('switches protocols', 'HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
  notHttp('chunk of no number', `${OK}transfer-encoding: chunked\r\n\r\nzz\r\nab\r\n`),
  notHttp('chunk of a huge size', `${OK}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n`),
  notHttp('chunk of a negative size', `${OK}transfer-encoding: chunked\r\n\r\n-1\r\nab\r\n`),
  notHttp('chunk without its line end', `${OK}transfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n`),
  notHttp('length and chunks', `${OK}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`),
  notHttp('two lengths', `${OK}content-length: 2\r\ncontent-length: 3\r\n\r\nabc`),
  notHttp('a negative length', `${OK}content-length: -1\r\n\r\nabc`),
  notHttp('a length with a sign', `${OK}content-length: +3\r\n\r\nabc`),
  notHttp('a length over 64 bits', `${OK}content-length: 99999999999999999999999\r\n\r\nabc`),
  notHttp('NUL in a header', `${OK}x: a\0b\r\ncontent-length: 0\r\n\r\n`),
  notHttp('NUL in a header name', `${OK}a\0b: x\r\ncontent-length: 0\r\n\r\n`),
  notHttp('a space before the colon', `${OK}content-length : 0\r\n\r\n`),
  {
    name: 'a folded header',
    outcomes: ['invalid_response', 'delivered'],
    onRequest: says(`${OK}x: a\r\n b\r\ncontent-length: 0\r\n\r\n`),
  },
  // Odd, and an answer all the same.
  answered('status 999', 'rejected', whole('999 No', '', 'x')),
  answered('status 599', 'rejected', whole('599 No')),
  answered('an endless Retry-After', 'rejected', whole('500 No', 'retry-after: 1e400\r\n')),
  answered('NUL in the body', 'delivered', whole('200 OK', '', 'a\0b\0')),
  answered('bytes that are not UTF-8', 'delivered', whole('200 OK', 'x: \xff\xfe\r\n', '\xff\xfe\xc3(')),
  answered(
    'SQL and HTML',
    'delivered',
    whole('200 OK', "x: '; DROP TABLE attempts; --\r\n", '<script>alert(1)</script>'),
  ),
  answered('sets cookies', 'delivered', whole('200 OK', 'set-cookie: a=b\r\nclear-site-data: "*"\r\n')),
  {
    name: 'a second answer that nobody asked for',
    outcomes: ['delivered', 'rejected', 'reset', 'invalid_response'],
    onRequest: says(whole('200 OK') + whole('404 Not Found')),
  },
  // TLS.
  overTls('a good certificate', certificate('good'), ['delivered']),
  overTls(EXPIRED, certificate('expired')),
  overTls('certificate of the future', certificate('not-yet-valid')),
  overTls('self-signed certificate', certificate('self-signed')),
  overTls('certificate for another name', certificate('wrong-name')),
  overTls('TLS 1.0', oldTls('TLSv1')),
  overTls('TLS 1.1', oldTls('TLSv1.1')),
  overTls('HTTP/2 only', { ...certificate('good'), ALPNProtocols: ['h2'] }),
  overTls('no shared cipher', { ...certificate('good'), maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA' }),
  { name: 'TLS, then never answers', outcomes: ['timeout'], tls: certificate('good'), onRequest: silent },
  {
    name: 'TLS, then closes',
    outcomes: ['reset'],
    tls: certificate('good'),
    onRequest: (socket) => void socket.destroy(),
  },
  {
    name: 'TLS, then one byte a second',
    outcomes: ['body_timeout'],
    tls: certificate('good'),
    onRequest: drips(`${OK}\r\n`, 'x'),
  },
  insteadOfTls('no handshake', ['connect_timeout'], silent),
  insteadOfTls('closes in the handshake', ['tls_failed', 'reset'], (socket) =>
    socket.once('data', () => socket.end()),
  ),
  insteadOfTls('resets in the handshake', ['tls_failed', 'reset'], (socket) =>
    socket.once('data', () => socket.resetAndDestroy()),
  ),
  insteadOfTls('plain HTTP', ['tls_failed'], answersOk),
  insteadOfTls('TLS records of noise', ['tls_failed'], floods('', '\x16\x03\x03\x40\x00\x7f')),
  insteadOfTls('a handshake of one byte a second', ['connect_timeout', 'tls_failed'], drips('\x16', '\x03')),
]

import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import {
  type CreatePostOptions,
  createAddressRule,
  createPost,
  type EndpointTls,
  egressProxy,
  type Lookup,
  type Post,
  type PostOutcome,
} from '../src/index.ts'
import { answer, type RawServer, startRawServer, testCertificate } from './raw-server.ts'

const loopback = createAddressRule({ allow: ['127.0.0.0/8', '::1/128'] })
const toClose: { close(): Promise<void> }[] = []

afterEach(async () => {
  for (const closable of toClose.splice(0).reverse()) await closable.close()
})

describe('what is sent', () => {
  test('is one POST with the given bytes and headers, framed by content-length, asking for no compression', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const body = Buffer.from('{"caf\u00e9":"\u2603"}')
    await posting().post({
      url: server.url,
      headers: { 'Content-Type': 'application/json', 'webhook-id': 'msg_1' },
      body,
    })

    const [head, sentBody] = server.received.split('\r\n\r\n') as [string, string]
    const [requestLine, ...lines] = head.split('\r\n')
    expect(requestLine).toBe('POST /hooks?a=1 HTTP/1.1')
    expect(lines.sort()).toEqual([
      'Content-Type: application/json',
      'accept-encoding: identity',
      'accept: */*',
      'connection: keep-alive',
      `content-length: ${body.length}`,
      `host: 127.0.0.1:${server.port}`,
      'user-agent: Posthorn',
      'webhook-id: msg_1',
    ])
    expect(Buffer.from(sentBody, 'latin1')).toEqual(body)
  })

  test('is framed by us alone, whatever headers are given', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const headers = {
      Host: 'evil.example',
      'Content-Length': '3',
      'transfer-encoding': 'chunked',
      Connection: 'close',
      Expect: '100-continue',
      TE: 'trailers',
      Trailer: 'x',
      Upgrade: 'h2c',
      'Proxy-Authorization': 'x',
      'Accept-Encoding': 'gzip',
      'User-Agent': 'Mine',
    }
    const outcome = await posting().post({ url: server.url, headers, body: Buffer.from('12345') })
    expect(outcome).toMatchObject({ kind: 'answered', status: 200 })
    expect(server.received).toContain(`host: 127.0.0.1:${server.port}\r\n`)
    expect(server.received).toContain('content-length: 5\r\n')
    expect(server.received).toContain('User-Agent: Mine\r\n')
    expect(server.received).not.toMatch(/evil|chunked|close|expect|trailer|upgrade|proxy|gzip|Posthorn/i)
  })

  test.each([
    ['a header with a line break', { 'x-a': 'b\r\nx-injected: 1' }],
    ['a header name that is none', { 'x a': 'b' }],
  ])('%s is not sent', async (_name, headers) => {
    const server = await serve((socket) => socket.write(answer(200)))
    const outcome = await posting().post({ url: server.url, headers, body: Buffer.from('{}') })
    expect(outcome).toMatchObject({ kind: 'failed', code: 'invalid_request' })
    expect(server.received).toBe('')
  })

  test.each(['nonsense', 'ftp://127.0.0.1/', 'data:,x'])(
    'a URL that is not http(s) is not sent: %s',
    async (url) => {
      expect(await posting().post({ url, headers: {}, body: Buffer.alloc(0) })).toMatchObject({
        kind: 'failed',
        code: 'invalid_request',
      })
    },
  )
})

describe('an answer', () => {
  test('is given back with status, headers, body and timings', async () => {
    const server = await serve((socket) =>
      socket.write(answer(201, 'made', 'X-A: 1\r\nx-b: 2\r\nX-a: 3\r\n')),
    )
    const outcome = await send(posting(), server)
    expect(outcome).toMatchObject({
      kind: 'answered',
      status: 201,
      headers: [
        ['x-a', '1'],
        ['x-a', '3'],
        ['x-b', '2'],
        ['content-length', '4'],
      ],
      body: Buffer.from('made'),
      bodyTruncated: false,
    })
    expect(outcome.durationMs).toBe(outcome.timings.totalMs)
    expect(outcome.timings).toMatchObject({ connectMs: expect.any(Number), firstByteMs: expect.any(Number) })
    expect(outcome.timings).not.toHaveProperty('dnsMs')
  })

  test.each([200, 204, 400, 410, 429, 500, 503, 599, 999])('with status %d is a value', async (status) => {
    const server = await serve((socket) => socket.write(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`))
    expect(await send(posting(), server)).toMatchObject({ kind: 'answered', status, body: Buffer.alloc(0) })
  })

  test.each([301, 302, 303, 307, 308])('with status %d is not followed', async (status) => {
    const target = await serve((socket) => socket.write(answer(200)))
    const server = await serve((socket) => socket.write(answer(status, '', `location: ${target.url}\r\n`)))
    expect(await send(posting(), server)).toMatchObject({ kind: 'answered', status })
    expect(target.accepted).toBe(0)
  })

  test('that is compressed is kept as the bytes that came', async () => {
    const zipped = gzipSync('x'.repeat(1_000_000))
    const server = await serve((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${zipped.length}\r\n\r\n`)
      socket.write(zipped)
    })
    expect(await send(posting(), server)).toMatchObject({ kind: 'answered', body: zipped })
  })

  test('of exactly the limit is whole, and its connection is used again', async () => {
    const server = await serve((socket) => socket.write(answer(200, 'x'.repeat(16_384))))
    const post = posting()
    for (let sent = 0; sent < 3; sent += 1) {
      const outcome = await send(post, server)
      expect(outcome).toMatchObject({ kind: 'answered', bodyTruncated: false })
      expect(bodyOf(outcome).length).toBe(16_384)
      await untilIdle()
    }
    expect(server.accepted).toBe(1)
  })

  test('counts by itself, however many came before on its connection', async () => {
    const server = await serve((socket) => socket.write(answer(200, 'x'.repeat(16_384))))
    const post = posting()
    for (let sent = 0; sent < 80; sent += 1) {
      expect(await send(post, server)).toMatchObject({ kind: 'answered', status: 200 })
      await untilIdle()
    }
    expect(server.accepted).toBe(1)
  })

  test.each([
    ['one byte over the limit', (socket: Socket) => void socket.write(answer(200, 'x'.repeat(16_385)))],
    ['without an end', (socket: Socket) => endless(socket, 'HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(65_536))],
    [
      'chunked without an end',
      (socket: Socket) =>
        endless(
          socket,
          'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
          `400\r\n${'x'.repeat(0x400)}\r\n`,
        ),
    ],
  ])('%s is cut at the limit, and its connection is closed', async (_name, respond) => {
    const server = await serve(respond)
    const outcome = await send(posting(), server)
    expect(outcome).toMatchObject({ kind: 'answered', status: 200, bodyTruncated: true })
    expect(bodyOf(outcome)).toEqual(Buffer.from('x'.repeat(16_384)))
    await expect.poll(() => server.open.size).toBe(0)
  })

  test('with many headers is given back with the first 8 KiB of them', async () => {
    const headers = Array.from({ length: 12 }, (_, index) => `x-${index}: ${'v'.repeat(1_000)}\r\n`).join('')
    const server = await serve((socket) => socket.write(answer(200, '', headers)))
    const outcome = await send(posting(), server)
    expect(outcome).toMatchObject({ kind: 'answered', status: 200 })
    expect(outcome.kind === 'answered' && outcome.headers.length).toBe(8)
  })

  test('after a few interim answers is the final one', async () => {
    const server = await serve((socket) =>
      socket.write(`${'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'.repeat(3)}${answer(200, 'ok')}`),
    )
    expect(await send(posting(), server)).toMatchObject({
      kind: 'answered',
      status: 200,
      body: Buffer.from('ok'),
    })
  })

  test('that comes before the body was sent is an answer all the same', async () => {
    const server = await serve(() => {}, { onConnection: (socket) => void socket.end(answer(413, 'no')) })
    const outcome = await posting().post({ url: server.url, headers: {}, body: Buffer.alloc(4_000_000) })
    // The peer hangs up in the middle of our body: whether its answer gets through is up to TCP.
    expect(outcome.kind === 'answered' ? outcome.status : outcome.code).toSatisfy((result) =>
      [413, 'reset'].includes(result as number | string),
    )
  })
})

describe('a hostile or broken endpoint ends as a failure with its own code', () => {
  const hostile: [code: string, name: string, respond: (socket: Socket) => void][] = [
    ['reset', 'closes without an answer', (socket) => socket.end()],
    ['reset', 'resets the connection', (socket) => socket.resetAndDestroy()],
    ['reset', 'closes in the headers', (socket) => socket.end('HTTP/1.1 200 OK\r\nx-a')],
    [
      'reset',
      'closes in a body with a length',
      (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc'),
    ],
    [
      'reset',
      'closes in a body with chunks',
      (socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab'),
    ],
    [
      'reset',
      'says close, then cuts the body',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc'),
    ],
    [
      'reset',
      'says close, then cuts a chunk',
      (socket) =>
        socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab'),
    ],
    ['timeout', 'never answers', () => {}],
    [
      'timeout',
      'sends headers byte by byte without an end',
      (socket) => drip(socket, '', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(9_999)}`),
    ],
    [
      'body_timeout',
      'sends a body byte by byte without an end',
      (socket) => drip(socket, 'HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(9_999)),
    ],
    [
      'body_timeout',
      'stops in the body',
      (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc'),
    ],
    ['invalid_response', 'does not speak HTTP', (socket) => socket.write('SSH-2.0-OpenSSH_9.6\r\n')],
    [
      'invalid_response',
      'sends a bad chunk size',
      (socket) => socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab\r\n'),
    ],
    [
      'invalid_response',
      'sends a huge chunk size',
      (socket) =>
        socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n'),
    ],
    [
      'invalid_response',
      'sends content-length and transfer-encoding',
      (socket) =>
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'),
    ],
    [
      'invalid_response',
      'sends two lengths',
      (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc'),
    ],
    [
      'invalid_response',
      'sends a negative length',
      (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabc'),
    ],
    [
      'invalid_response',
      'sends a header with NUL',
      (socket) => socket.write('HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n'),
    ],
    [
      'invalid_response',
      'sends a status below 100',
      (socket) => socket.write('HTTP/1.1 099 No\r\ncontent-length: 0\r\n\r\n'),
    ],
    [
      'invalid_response',
      'sends a status of four digits',
      (socket) => socket.write('HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n'),
    ],
    [
      'invalid_response',
      'sends HTTP/3.7',
      (socket) => socket.write('HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n'),
    ],
    [
      'invalid_response',
      'switches protocols unasked',
      (socket) => socket.write('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    ],
    [
      'invalid_response',
      'says 100 Continue unasked',
      (socket) => socket.write(`HTTP/1.1 100 Continue\r\n\r\n${answer(200)}`),
    ],
    [
      'invalid_response',
      'floods interim answers',
      (socket) => endless(socket, '', 'HTTP/1.1 102 Processing\r\n\r\n'),
    ],
    [
      'invalid_response',
      'sends a status line without an end',
      (socket) => endless(socket, 'HTTP/1.1 200 ', 'OK'),
    ],
    [
      'invalid_response',
      'sends a chunk extension without an end',
      (socket) => endless(socket, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=', 'y'),
    ],
    [
      'headers_too_large',
      'sends headers over 16 KiB',
      (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(17_000)}\r\n\r\n`),
    ],
    [
      'headers_too_large',
      'sends headers without an end',
      (socket) => endless(socket, 'HTTP/1.1 200 OK\r\n', 'x-a: yyyyyyyyyyyyyyyy\r\n'),
    ],
    [
      'headers_too_large',
      'sends trailers without an end',
      (socket) =>
        endless(
          socket,
          'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n',
          'x-a: yyyyyyyyyyyyyyyy\r\n',
        ),
    ],
  ]

  test.each(hostile)('%s: it %s', async (code, _name, respond) => {
    const server = await serve(respond)
    const post = posting({ attemptTimeoutMs: 300 })
    const outcome = await send(post, server)
    expect(outcome).toMatchObject({ kind: 'failed', code })
    expect(outcome.kind === 'failed' && outcome.detail.length).toBeLessThan(120)
    await expect.poll(() => server.open.size).toBe(0)
  })

  test('a failure after the status tells the status', async () => {
    const server = await serve((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc'))
    expect(await send(posting(), server)).toMatchObject({ kind: 'failed', code: 'reset', status: 200 })
  })

  test('connect_refused: nothing listens', async () => {
    const server = await serve(() => {})
    await server.close()
    toClose.splice(toClose.indexOf(server), 1)
    expect(await send(posting(), server)).toMatchObject({ kind: 'failed', code: 'connect_refused' })
  })

  test('nothing is left of them: no connection, no handle, and good answers come as before', async () => {
    const post = posting({ attemptTimeoutMs: 200 })
    const servers = await Promise.all(hostile.map(([, , respond]) => serve(respond)))
    const outcomes = await Promise.all(
      servers.flatMap((server) => Array.from({ length: 8 }, () => send(post, server))),
    )
    expect(outcomes.map((outcome) => outcome.kind)).toEqual(outcomes.map(() => 'failed'))
    await expect.poll(() => servers.filter((server) => server.open.size > 0).length).toBe(0)
    await expect.poll(openSockets).toBe(0)

    const good = await serve((socket) => socket.write(answer(200)))
    expect(await send(post, good)).toMatchObject({ kind: 'answered', status: 200 })
  })
})

describe('names and addresses', () => {
  test('a refused literal address is not connected to', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const post = posting({ rule: createAddressRule() })
    for (const host of ['127.0.0.1', '2130706433', '[::ffff:127.0.0.1]']) {
      const outcome = await post.post({
        url: `http://${host}:${server.port}/`,
        headers: {},
        body: Buffer.from('{}'),
      })
      expect(outcome, host).toMatchObject({ kind: 'failed', code: 'address_refused' })
    }
    expect(server.accepted).toBe(0)
  })

  test('a name is refused if any of its addresses is, whatever their order', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    for (const addresses of [
      ['127.0.0.1', '10.0.0.1'],
      ['10.0.0.1', '127.0.0.1'],
      ['127.0.0.1', '::ffff:10.0.0.1'],
    ]) {
      const outcome = await send(posting({ lookup: resolving(addresses) }), server, 'receiver.test')
      expect(outcome).toMatchObject({ kind: 'failed', code: 'address_refused' })
      expect(outcome.kind === 'failed' && outcome.detail).not.toContain('10.0.0.1')
    }
    expect(server.accepted).toBe(0)
  })

  test('a name is looked up once for a connection, and the address that was judged is the one dialled', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    let lookups = 0
    // The second answer, for anybody who asked again, would be a refused address.
    const lookup: Lookup = (_hostname, _options, callback) => {
      lookups += 1
      const address = lookups === 1 ? '127.0.0.1' : '10.0.0.1'
      setImmediate(() => callback(null, [{ address, family: 4 }]))
    }
    const outcome = await send(posting({ lookup }), server, 'receiver.test')
    expect(outcome).toMatchObject({ kind: 'answered', status: 200 })
    expect(outcome.timings).toMatchObject({ dnsMs: expect.any(Number), connectMs: expect.any(Number) })
    expect(lookups).toBe(1)
    expect(server.received).toContain(`host: receiver.test:${server.port}\r\n`)
  })

  test('the peer of an open connection is judged before a byte is written', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    let judged = 0
    const rule = {
      hasExceptions: true,
      judge: () =>
        ++judged === 1 ? { allowed: true as const } : { allowed: false as const, range: 'private' },
    }
    expect(await send(posting({ rule }), server)).toMatchObject({ kind: 'failed', code: 'address_refused' })
    await expect.poll(() => server.open.size).toBe(0)
    expect(server.received).toBe('')
  })

  test('when an address does not answer, the next one of the name is tried', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const lookup = resolving(['127.0.0.2', '127.0.0.3', '127.0.0.1'])
    expect(await send(posting({ lookup }), server, 'receiver.test')).toMatchObject({ kind: 'answered' })
    const nowhere = resolving(['127.0.0.2', '127.0.0.3'])
    expect(await send(posting({ lookup: nowhere }), server, 'receiver.test')).toMatchObject({
      kind: 'failed',
      code: 'connect_refused',
    })
  })

  test.each([
    ['does not exist', failingLookup('ENOTFOUND')],
    ['has no address', resolving([])],
    ['is not looked up in time', (() => {}) as Lookup],
  ])('dns_failed: a name that %s', async (_name, lookup) => {
    const outcome = await posting({ lookup, connectTimeoutMs: 100 }).post({
      url: 'http://receiver.test/',
      headers: {},
      body: Buffer.from('{}'),
    })
    expect(outcome).toMatchObject({ kind: 'failed', code: 'dns_failed' })
  })
})

describe('limits of the operator', () => {
  test.each([
    ['another port', { ports: [{ first: 1, last: 1 }] }],
    ['plain http', { httpsOnly: true }],
  ])('%s is not connected to', async (_name, limits) => {
    const server = await serve((socket) => socket.write(answer(200)))
    expect(await send(posting({ limits }), server)).toMatchObject({ kind: 'failed', code: 'address_refused' })
    expect(server.accepted).toBe(0)
  })

  test('a port within the ranges is', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const limits = { ports: [{ first: server.port, last: server.port }] }
    expect(await send(posting({ limits }), server)).toMatchObject({ kind: 'answered' })
  })
})

describe('an egress proxy', () => {
  const throughProxy = (port: number, more: { auth?: string; checks?: 'posthorn' | 'proxy' } = {}) =>
    egressProxy({
      egressProxy: `http://${more.auth === undefined ? '' : `${more.auth}@`}127.0.0.1:${port}`,
      egressNamesCheckedBy: more.checks ?? 'posthorn',
    })!
  // The proxy is on an address that deliveries may not go to; what it tunnels to is looked up by us.
  const rule = createAddressRule({ allow: ['127.77.0.0/16'] })

  test('there is none unless it is set', () => {
    expect(egressProxy({ egressNamesCheckedBy: 'posthorn' })).toBeUndefined()
  })

  test('is asked for the address that was judged, and the endpoint sees its own name', async () => {
    const server = await serve((socket) => socket.write(answer(200, 'ok')))
    const proxy = await startProxy({ to: server.port })
    const post = posting({
      rule,
      proxy: throughProxy(proxy.port, { auth: 'user:p%40ss' }),
      lookup: resolving(['127.77.0.1']),
    })
    expect(await send(post, server, 'receiver.test')).toMatchObject({ kind: 'answered', status: 200 })
    expect(proxy.asked).toEqual([
      `CONNECT 127.77.0.1:${server.port} HTTP/1.1\r\nhost: 127.77.0.1:${server.port}\r\n` +
        `proxy-authorization: Basic ${Buffer.from('user:p@ss').toString('base64')}\r\n\r\n`,
    ])
    expect(server.received).toContain(`host: receiver.test:${server.port}\r\n`)
    expect(server.received).not.toMatch(/proxy/i)
  })

  test('is not asked for a name that has an address which is refused, nor for such an address', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const proxy = await startProxy({ to: server.port })
    const lookup = resolving(['127.77.0.1', '10.0.0.1'])
    const post = posting({ rule, proxy: throughProxy(proxy.port), lookup })
    for (const host of ['receiver.test', '127.0.0.1']) {
      expect(await send(post, server, host)).toMatchObject({ kind: 'failed', code: 'address_refused' })
    }
    const leftToProxy = posting({ rule, proxy: throughProxy(proxy.port, { checks: 'proxy' }), lookup })
    expect(await send(leftToProxy, server)).toMatchObject({ kind: 'failed', code: 'address_refused' })
    expect(proxy.asked).toEqual([])
  })

  test('is given names only where their check is left to it', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const proxy = await startProxy({ to: server.port })
    const lookup = failingLookup('ENOTFOUND')
    const post = posting({ rule, proxy: throughProxy(proxy.port, { checks: 'proxy' }), lookup })
    expect(await send(post, server, 'receiver.test')).toMatchObject({ kind: 'answered' })
    expect(proxy.asked[0]).toContain(`CONNECT receiver.test:${server.port} HTTP/1.1`)
  })

  test('is asked for the next address of a name where it cannot reach one', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const proxy = await startProxy({
      to: server.port,
      answer: (asked) => (asked.includes('127.77.0.1:') ? 'HTTP/1.1 502 Bad Gateway\r\n\r\n' : undefined),
    })
    const lookup = resolving(['127.77.0.1', '127.77.0.2'])
    const post = posting({ rule, proxy: throughProxy(proxy.port), lookup })
    expect(await send(post, server, 'receiver.test')).toMatchObject({ kind: 'answered' })
    expect(proxy.asked.length).toBe(2)
  })

  test('carries TLS that is verified by us, for the name of the endpoint', async () => {
    const { key, cert } = testCertificate()
    const names: unknown[] = []
    const server = await serve((socket) => socket.write(answer(200)), {
      tls: { key, cert },
      onConnection: (socket) => names.push((socket as { servername?: unknown }).servername),
    })
    const proxy = await startProxy({ to: server.port })
    const options = { rule, proxy: throughProxy(proxy.port), lookup: resolving(['127.77.0.1']) }
    expect(await send(posting({ ...options, ca: cert }), server, 'receiver.test')).toMatchObject({
      kind: 'answered',
    })
    expect(names).toEqual(['receiver.test'])
    for (const [post, host] of [
      [posting(options), 'receiver.test'],
      [posting({ ...options, ca: cert }), 'other.test'],
    ] as const) {
      expect(await send(post, server, host)).toMatchObject({ kind: 'failed', code: 'tls_failed' })
    }
  })

  test.each([
    ['refuses the host', 'address_refused', 'HTTP/1.1 403 Forbidden\r\n\r\n'],
    ['wants other credentials', 'proxy_failed', 'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'],
    ['cannot reach the host', 'proxy_failed', 'HTTP/1.1 502 Bad Gateway\r\n\r\n'],
    ['does not speak HTTP', 'proxy_failed', 'SSH-2.0-OpenSSH_9.6\r\n\r\n'],
    ['says more than it was asked', 'proxy_failed', `HTTP/1.1 200 OK\r\n\r\n${answer(200)}`],
    ['answers without an end', 'proxy_failed', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(9_000)}`],
    ['hangs up', 'proxy_failed', ''],
  ])('that %s: %s', async (_name, code, said) => {
    const server = await serve((socket) => socket.write(answer(200)))
    const proxy = await startProxy({ to: server.port, answer: () => said })
    const post = posting({
      rule,
      proxy: throughProxy(proxy.port, { auth: 'user:canary-password' }),
      lookup: resolving(['127.77.0.1']),
    })
    const outcome = await send(post, server, 'receiver.test')
    expect(outcome).toMatchObject({ kind: 'failed', code })
    expect(JSON.stringify(outcome)).not.toContain('canary')
    expect(server.received).toBe('')
    await expect.poll(() => proxy.open.size).toBe(0)
  })

  test('that is away is a failure of the proxy, and one that never answers is a timeout', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const away = await startProxy({ to: server.port })
    await away.close()
    const options = { rule, lookup: resolving(['127.77.0.1']), connectTimeoutMs: 200 }
    const post = posting({ ...options, proxy: throughProxy(away.port) })
    expect(await send(post, server, 'receiver.test')).toMatchObject({ kind: 'failed', code: 'proxy_failed' })
    const silent = await serve(() => {})
    const waiting = posting({ ...options, proxy: throughProxy(silent.port) })
    expect(await send(waiting, server, 'receiver.test')).toMatchObject({
      kind: 'failed',
      code: 'connect_timeout',
    })
    await expect.poll(() => silent.open.size).toBe(0)
  })

  async function startProxy(options: {
    /** The port on 127.0.0.1 that every tunnel leads to, wherever it was asked for. */
    to: number
    answer?: (asked: string) => string | undefined
  }): Promise<{ port: number; asked: string[]; open: Set<Socket>; close(): Promise<void> }> {
    const asked: string[] = []
    const open = new Set<Socket>()
    const server = createServer((socket) => {
      open.add(socket)
      socket.on('error', () => {}).on('close', () => open.delete(socket))
      socket.once('data', (data) => {
        asked.push(data.toString('latin1'))
        const said = options.answer?.(asked.at(-1)!)
        if (said !== undefined) return void (said === '' ? socket.end() : socket.write(said))
        const onward = connect({ host: '127.0.0.1', port: options.to })
        onward.on('error', () => socket.destroy()).on('close', () => socket.destroy())
        socket.on('close', () => onward.destroy())
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
        socket.pipe(onward).pipe(socket)
      })
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const close = async () => {
      for (const socket of open) socket.destroy()
      if (server.listening) await once(server.close(), 'close')
    }
    toClose.unshift({ close })
    return { port: (server.address() as AddressInfo).port, asked, open, close }
  }
})

describe('TLS', () => {
  const { key, cert } = testCertificate()

  test('goes to a host whose certificate is accepted, by name with its server name and by address', async () => {
    const names: unknown[] = []
    const server = await serve((socket) => socket.write(answer(200)), {
      tls: { key, cert },
      onConnection: (socket) => names.push((socket as { servername?: unknown }).servername),
    })
    const post = posting({ ca: cert, lookup: resolving(['127.0.0.1']) })
    const outcome = await send(post, server, 'receiver.test')
    expect(outcome).toMatchObject({ kind: 'answered', status: 200, timings: { tlsMs: expect.any(Number) } })
    expect(await send(post, server, 'receiver.test.')).toMatchObject({ kind: 'answered' })
    expect(await send(post, server)).toMatchObject({ kind: 'answered' })
    expect(names).toEqual(['receiver.test', 'receiver.test', false])
  })

  test.each([
    ['self-signed', 'DEPTH_ZERO_SELF_SIGNED_CERT', { key, cert }, {}, 'receiver.test'],
    ['for another name', 'ERR_TLS_CERT_ALTNAME_INVALID', { key, cert }, { ca: cert }, 'other.test'],
    [
      'expired',
      'CERT_HAS_EXPIRED',
      { key, cert: testCertificate('expired').cert },
      { ca: testCertificate('expired').cert },
      'receiver.test',
    ],
    [
      'of TLS 1.1',
      'ERR_SSL',
      {
        key,
        cert,
        maxVersion: 'TLSv1.1' as const,
        minVersion: 'TLSv1.1' as const,
        ciphers: 'ALL:@SECLEVEL=0',
      },
      { ca: cert },
      'receiver.test',
    ],
  ])('tls_failed: %s (%s)', async (_name, reason, tls, options, host) => {
    const server = await serve((socket) => socket.write(answer(200)), { tls })
    const outcome = await send(posting({ ...options, lookup: resolving(['127.0.0.1']) }), server, host)
    expect(outcome).toMatchObject({
      kind: 'failed',
      code: 'tls_failed',
      detail: expect.stringContaining(reason),
    })
    expect(server.received).toBe('')
    await expect.poll(() => server.open.size).toBe(0)
  })

  test('tls_failed: the peer does not speak TLS', async () => {
    const server = await serve(() => {}, { onConnection: (socket) => void socket.write(answer(400)) })
    const url = server.url.replace('http:', 'https:')
    expect(await posting().post({ url, headers: {}, body: Buffer.from('{}') })).toMatchObject({
      kind: 'failed',
      code: 'tls_failed',
    })
  })

  test('connect_timeout: the peer never shakes hands', async () => {
    const server = await serve(() => {})
    const url = server.url.replace('http:', 'https:')
    const outcome = await posting({ connectTimeoutMs: 100 }).post({
      url,
      headers: {},
      body: Buffer.from('{}'),
    })
    expect(outcome).toMatchObject({ kind: 'failed', code: 'connect_timeout' })
    await expect.poll(() => server.open.size).toBe(0)
  })

  test('NODE_TLS_REJECT_UNAUTHORIZED=0 does not turn verification off', async () => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    try {
      const server = await serve((socket) => socket.write(answer(200)), { tls: { key, cert } })
      expect(await send(posting(), server)).toMatchObject({ kind: 'failed', code: 'tls_failed' })
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    }
  })
})

describe('TLS of an endpoint', () => {
  const { key, cert } = testCertificate()
  const identity = { certificate: cert.toString(), key: key.toString() }

  async function serveAskingForCertificates() {
    const shown: string[] = []
    const server = await serve((socket) => socket.write(answer(200)), {
      tls: { key, cert, requestCert: true, rejectUnauthorized: false },
      onConnection: (socket) => {
        const { subject } = (socket as TLSSocket).getPeerCertificate()
        shown.push(subject === undefined ? 'none' : 'one')
      },
    })
    const sendWith = (post: Post, tls?: EndpointTls) =>
      post.post({ url: server.url, headers: {}, body: Buffer.from('{}'), ...(tls !== undefined && { tls }) })
    return { server, shown, sendWith }
  }

  test('a CA of its own is trusted for that endpoint and for no other', async () => {
    const { sendWith } = await serveAskingForCertificates()
    const post = posting()
    expect(await sendWith(post, { ca: cert.toString() })).toMatchObject({ kind: 'answered' })
    expect(await sendWith(post)).toMatchObject({ kind: 'failed', code: 'tls_failed' })
  })

  test('a certificate is shown by that endpoint alone: connections do not mix', async () => {
    const { server, shown, sendWith } = await serveAskingForCertificates()
    const post = posting({ ca: cert })
    for (const tls of [undefined, identity, { ...identity }, undefined]) {
      expect(await sendWith(post, tls)).toMatchObject({ kind: 'answered' })
      await untilIdle()
    }
    // The second with the same identity, and the second without one, found a connection of theirs.
    expect(shown).toEqual(['none', 'one'])
    expect(server.accepted).toBe(2)
  })

  test('what cannot be used is an outcome', async () => {
    const { server, sendWith } = await serveAskingForCertificates()
    expect(await sendWith(posting(), { certificate: 'x', key: 'canary' })).toMatchObject({
      kind: 'failed',
      code: 'invalid_request',
      detail: expect.not.stringContaining('canary'),
    })
    expect(server.accepted).toBe(0)
  })
})

describe('connections', () => {
  test('are used again, and only the first request on one has connection timings', async () => {
    const server = await serve((socket) => socket.write(answer(200, 'ok')))
    const post = posting()
    const outcomes: PostOutcome[] = []
    for (let sent = 0; sent < 20; sent += 1) {
      outcomes.push(await send(post, server))
      await untilIdle()
    }
    expect(server.accepted).toBe(1)
    expect(outcomes.filter((outcome) => outcome.timings.connectMs !== undefined)).toEqual([outcomes[0]])
  })

  test('are at most so many to one origin; a request that waits too long for one is not sent', async () => {
    const server = await serve(() => {})
    const post = posting({ socketsPerOriginMax: 1, attemptTimeoutMs: 200 })
    const outcomes = await Promise.all([send(post, server), send(post, server), send(post, server)])
    expect(outcomes).toEqual(outcomes.map(() => expect.objectContaining({ kind: 'failed', code: 'timeout' })))
    await expect.poll(() => server.open.size).toBe(0)
    expect(server.received.match(/POST /g)).toHaveLength(1)
  })

  test('a request that hangs does not hold up others to the same origin', async () => {
    let requests = 0
    const server = await serve((socket) => {
      requests += 1
      if (requests > 1) socket.write(answer(200))
    })
    const post = posting({ attemptTimeoutMs: 60_000 })
    const abort = new AbortController()
    const hanging = send(post, server, '127.0.0.1', abort.signal)
    await expect.poll(() => requests).toBe(1)
    expect(await send(post, server)).toMatchObject({ kind: 'answered' })
    abort.abort()
    expect(await hanging).toMatchObject({ kind: 'failed', code: 'aborted' })
  })

  test('thousands of origins leave no connections behind', async () => {
    const server = await serve((socket) => socket.write(answer(200)))
    const post = posting({ lookup: resolving(['127.0.0.1']), originsMax: 8 })
    for (let index = 0; index < 300; index += 1) {
      expect(await send(post, server, `host-${index}.test`)).toMatchObject({ kind: 'answered' })
    }
    await expect.poll(() => server.open.size).toBeLessThanOrEqual(8)
  })
})

describe('calling off', () => {
  test('a signal ends a request that is in flight, one that waits, and one not begun', async () => {
    const server = await serve(() => {})
    const post = posting({ socketsPerOriginMax: 1, attemptTimeoutMs: 60_000 })
    const abort = new AbortController()
    const outcomes = [1, 2].map(() => send(post, server, '127.0.0.1', abort.signal))
    await expect.poll(() => server.received).toContain('POST')
    abort.abort()
    outcomes.push(send(post, server, '127.0.0.1', abort.signal))
    for (const outcome of outcomes) expect(await outcome).toMatchObject({ kind: 'failed', code: 'aborted' })
    await expect.poll(() => server.open.size).toBe(0)
    expect(server.received.match(/POST /g)).toHaveLength(1)
  })

  test('close waits for what is in flight, refuses what comes after, and closes the connections', async () => {
    const waiting: Socket[] = []
    const server = await serve((socket) => waiting.push(socket))
    const post = posting()
    const inFlight = send(post, server)
    await expect.poll(() => waiting.length).toBe(1)
    let closed = false
    const closing = post.close().then(() => {
      closed = true
    })
    expect(await send(post, server)).toMatchObject({ kind: 'failed', code: 'aborted' })
    expect(closed).toBe(false)
    waiting[0]!.write(answer(200, 'late'))
    expect(await inFlight).toMatchObject({ kind: 'answered', body: Buffer.from('late') })
    await closing
    await expect.poll(() => server.open.size).toBe(0)
  })
})

function posting(options: Partial<CreatePostOptions> = {}): Post {
  const post = createPost({ rule: loopback, connectTimeoutMs: 5_000, attemptTimeoutMs: 5_000, ...options })
  toClose.push(post)
  return post
}

async function serve(...args: Parameters<typeof startRawServer>): Promise<RawServer> {
  const server = await startRawServer(...args)
  toClose.unshift(server)
  return server
}

function send(post: Post, server: RawServer, host = '127.0.0.1', signal?: AbortSignal): Promise<PostOutcome> {
  const url = server.url.replace('127.0.0.1', host)
  return post.post({ url, headers: {}, body: Buffer.from('{}'), ...(signal !== undefined && { signal }) })
}

function bodyOf(outcome: PostOutcome): Buffer {
  if (outcome.kind !== 'answered') throw new Error(`failed: ${outcome.code}`)
  return outcome.body
}

function resolving(addresses: string[]): Lookup {
  return (_hostname, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
}

function failingLookup(code: string): Lookup {
  return (_hostname, _options, callback) => callback(Object.assign(new Error(code), { code }), [])
}

/** Writes `head` once and `part` as long as the peer takes it. */
function endless(socket: Socket, head: string, part: string): void {
  const block = part.repeat(Math.ceil(16_384 / part.length))
  socket.write(head)
  const more = () => {
    while (!socket.destroyed && socket.write(block));
  }
  socket.on('drain', more)
  more()
}

/** Writes `head` at once and `rest` one byte each few milliseconds. */
function drip(socket: Socket, head: string, rest: string): void {
  socket.write(head)
  let index = 0
  const timer = setInterval(() => socket.write(rest[index++ % rest.length]!), 5)
  socket.on('close', () => clearInterval(timer))
}

/** undici frees a connection for the next request one turn of the event loop after an answer. */
async function untilIdle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setImmediate(resolve))
}

function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => /TCPSocketWrap|TLSWrap/.test(name)).length
}

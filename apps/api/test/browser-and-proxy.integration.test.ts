import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { networkOf } from '../src/failure-limit.ts'
import { startTestApi, type TestApi } from './start-test-api.ts'

const PORTAL = 'https://portal.example.com'

describe('a page of another origin', () => {
  let closed: TestApi
  let open: TestApi
  beforeAll(async () => {
    closed = await startTestApi()
    open = await startTestApi({ settings: { corsOrigins: [PORTAL] } })
  })
  afterAll(async () => {
    await closed.close()
    await open.close()
  })

  const preflight = (api: TestApi, origin: string) =>
    api.request('OPTIONS', '/v1/deliveries', {
      key: null,
      headers: {
        origin,
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'authorization',
      },
    })

  it('reads nothing, unless it is named', async () => {
    for (const [api, origin] of [
      [closed, PORTAL],
      [open, 'https://portal.example.com.evil.example'],
      [open, 'null'],
    ] as const) {
      const asked = await preflight(api, origin)
      expect(asked.headers.get('access-control-allow-origin')).toBeNull()
      const answer = await api.request('GET', '/v1/event-types', { headers: { origin } })
      expect(answer.headers.get('access-control-allow-origin')).toBeNull()
    }
  })

  it('that is named may call the API, without cookies, and reads its errors too', async () => {
    const asked = await preflight(open, PORTAL)
    expect(asked.status).toBe(204)
    expect(asked.headers.get('access-control-allow-origin')).toBe(PORTAL)
    expect(asked.headers.get('access-control-allow-headers')).toContain('authorization')
    expect(asked.headers.get('access-control-allow-credentials')).toBeNull()
    for (const key of [undefined, null]) {
      const options = { headers: { origin: PORTAL }, ...(key === null && { key }) }
      const answer = await open.request('GET', '/v1/event-types', options)
      expect(answer.status).toBe(key === null ? 401 : 200)
      expect(answer.headers.get('access-control-allow-origin')).toBe(PORTAL)
      expect(answer.headers.get('vary')).toMatch(/origin/i)
    }
  })
})

describe('the address that a request came from', () => {
  const addressOf = async (api: TestApi, forwardedFor: string) => {
    const uid = `o${Math.random()}`.replace('0.', '')
    await api.request('POST', '/v1/owners', { body: { uid }, headers: { 'x-forwarded-for': forwardedFor } })
    return (await api.request('GET', '/v1/audit-log?limit=1')).body.data[0].address
  }

  it('is that of the connection, whatever a header says', async () => {
    const api = await startTestApi()
    expect(await addressOf(api, '203.0.113.9')).toBe('127.0.0.1')
    await api.close()
  })

  it('behind a proxy that is trusted is what that says, as far as the trust goes', async () => {
    const api = await startTestApi({ settings: { trustedProxies: ['127.0.0.0/8', '10.0.0.0/8'] } })
    expect(await addressOf(api, '203.0.113.9')).toBe('203.0.113.9')
    expect(await addressOf(api, '198.51.100.1, 203.0.113.9, 10.0.0.7')).toBe('203.0.113.9')
    expect(await addressOf(api, 'nonsense')).toBe('127.0.0.1')
    await api.close()
  })

  it.each([
    ['203.0.113.9', '203.0.113.9'],
    ['::ffff:203.0.113.9', '203.0.113.9'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::1', '2001:db8:1:2'],
    ['', 'unknown'],
  ])('%j counts as %j', (address, network) => {
    expect(networkOf(address)).toBe(network)
  })
})

describe('what is no request yet', () => {
  let api: TestApi
  beforeAll(async () => {
    api = await startTestApi()
  })
  afterAll(() => api.close())

  it('headers that are too large are 431 headers_too_large', async () => {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>()
    const request = httpRequest(`${api.url}/v1/owners`, { headers: { 'x-long': 'x'.repeat(20_000) } })
    request.on('error', reject)
    request.on('response', (response) => {
      text(response).then((body) => resolve({ status: response.statusCode!, body }), reject)
    })
    request.end()
    const { status, body } = await promise
    expect(status).toBe(431)
    expect(JSON.parse(body)).toMatchObject({ code: 'headers_too_large', status: 431 })
  })

  it('what is not HTTP is 400 invalid_request', async () => {
    const { hostname, port } = new URL(api.url)
    const socket = connect(Number(port), hostname)
    socket.write('this is not HTTP\r\n\r\n')
    const answer = await text(socket)
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    expect(answer).toContain('"code":"invalid_request"')
  })
})

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Receiver, startReceiver } from '../src/index.ts'

let receiver: Receiver

beforeEach(async () => {
  receiver = await startReceiver()
})
afterEach(() => receiver.close())

const post = (path: string, body: string | Uint8Array<ArrayBuffer> = '', headers = {}) =>
  fetch(receiver.url + path, { method: 'POST', body, headers })

describe('a receiver', () => {
  it('records the exact bytes, the path and the headers', async () => {
    const body = new Uint8Array([0, 255, 0xc3, 0x28])
    const response = await post('/hook?a=1', body, { 'X-Custom': 'yes' })
    expect(response.status).toBe(200)
    const [request] = await receiver.waitFor(1)
    expect(request).toMatchObject({ method: 'POST', path: '/hook?a=1' })
    expect(request?.headers['x-custom']).toBe('yes')
    expect(request?.body.equals(body)).toBe(true)
    expect(request?.receivedAt).toBeInstanceOf(Date)
  })

  it('answers what it is told, also by a function of the request and its number', async () => {
    receiver.answer({ status: 503, headers: { 'retry-after': '7' }, body: 'busy' })
    const busy = await post('/')
    expect([busy.status, busy.headers.get('retry-after'), await busy.text()]).toEqual([503, '7', 'busy'])

    receiver.answer((request, index) => ({ status: request.path === '/bad' ? 400 : 200 + index }))
    expect((await post('/bad')).status).toBe(400)
    expect((await post('/good')).status).toBe(202)
  })

  it('holds requests until they are released', async () => {
    const hold = receiver.hold()
    let answered = false
    const answer = post('/').then((response) => {
      answered = true
      return response.status
    })
    await receiver.waitFor(1)
    expect(answered).toBe(false)
    hold.release()
    expect(await answer).toBe(200)
    expect((await post('/')).status).toBe(200)
  })

  it('can cut the connection', async () => {
    receiver.answer({ hangUp: true })
    await expect(post('/')).rejects.toThrow('fetch failed')
    expect(receiver.requests).toHaveLength(1)
  })

  it('waits for a request that a predicate accepts, and says what came when none does', async () => {
    const waiting = receiver.waitFor((request) => request.body.toString() === 'second')
    await post('/', 'first')
    await post('/', 'second')
    expect((await waiting).body.toString()).toBe('second')
    await expect(receiver.waitFor(3, 50)).rejects.toThrow('2 came')
  })

  it('closes with a request still open', async () => {
    receiver.hold()
    const answer = post('/').catch((error: Error) => error.message)
    await receiver.waitFor(1)
    await receiver.close()
    expect(await answer).toBe('fetch failed')
  })
})

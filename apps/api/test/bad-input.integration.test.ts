import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.paid' } })
  await api.request('POST', '/v1/owners', { body: { uid: 'acme' } })
})
afterAll(() => api.close())

/** Every refusal is a problem document with this status and code, and says something. */
function expectProblem(answer: Answer, status: number, code: string, detail: RegExp): void {
  expect({ status: answer.status, code: answer.body?.code }).toEqual({ status, code })
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  expect(answer.body).toMatchObject({ type: `urn:posthorn:problem:${code}`, status, code })
  expect(answer.body.title).not.toBe('')
  expect(answer.body.detail).toMatch(detail)
}

const emit = (body: unknown, headers: Record<string, string> = {}) =>
  api.request('POST', '/v1/messages', { body, headers })
const event = { owner: 'acme', type: 'pay_info.paid', data: { order: 1 } }

describe('a retry policy that cannot be used', () => {
  const exponential = { baseMs: 5_000, factor: 3, maxMs: 86_400_000, attempts: 10 }

  it.each<[unknown, string, RegExp, string]>([
    [{}, 'validation_failed', /retryPolicy must be \{delaysMs, jitter\?\} or \{baseMs/, ''],
    [5, 'validation_failed', /retryPolicy must be \{delaysMs.* or null/, ''],
    [[5_000], 'validation_failed', /retryPolicy must be \{delaysMs/, ''],
    [{ delaysMs: [-1] }, 'validation_failed', /must be whole milliseconds from 0/, '/delaysMs/0'],
    [{ delaysMs: [1], jiter: 0 }, 'unknown_field', /did you mean jitter/, '/jiter'],
    [{ delaysMs: Array(100).fill(1) }, 'validation_failed', /at most 99 waits/, '/delaysMs'],
    [{ ...exponential, factor: 11 }, 'validation_failed', /must be a number from 1 to 10/, '/factor'],
    [{ ...exponential, attempts: 0 }, 'validation_failed', /from 1 to 100/, '/attempts'],
    [{ ...exponential, jitter: 0.9 }, 'validation_failed', /from 0 to 0\.5/, '/jitter'],
    [{ ...exponential, tries: 9 }, 'unknown_field', /baseMs, factor, maxMs, attempts, jitter/, '/tries'],
    [{ baseMs: 5_000, factor: 3 }, 'validation_failed', /needs maxMs and attempts/, ''],
    [{ ...exponential, maxMs: 1 }, 'validation_failed', /maxMs must be at least baseMs.*5000/, '/maxMs'],
    [{ delaysMs: Array(3).fill(2_592_000_000) }, 'validation_failed', /90\.0 days/, '/delaysMs'],
  ])('is 422, with the place: %j', async (retryPolicy, code, detail, place) => {
    const body = { url: 'https://example.com', eventTypes: ['pay_info.paid'], retryPolicy }
    const answer = await api.request('POST', '/v1/owners/acme/endpoints', { body })
    expectProblem(answer, 422, code, detail)
    expect(answer.body.errors).toMatchObject([{ path: `/retryPolicy${place}` }])
  })
})

describe('a body that cannot be read', () => {
  it('is 400 invalid_json, with the place', async () => {
    expectProblem(await emit('{"owner":"acme",'), 400, 'invalid_json', /RFC 8259.*position/)
  })

  it.each(['﻿{}', "{'a':1}", '{"a":1,}', 'nul', '[1 2]', '{"a":NaN}', '{"a":01}'])(
    'is 400 invalid_json: %j',
    async (body) => {
      expectProblem(await emit(body), 400, 'invalid_json', /cannot be read as JSON/)
    },
  )

  it('is 400 invalid_utf8, with the line, where the bytes are not UTF-8', async () => {
    const body = Buffer.concat([Buffer.from('{"owner":\n"'), Buffer.of(0xc3, 0x28), Buffer.from('"}')])
    expectProblem(await emit(body), 400, 'invalid_utf8', /UTF-8\. Line 2/)
  })

  it('is 415 where it is not JSON by its header', async () => {
    const answer = await emit('a=1', { 'content-type': 'application/x-www-form-urlencoded' })
    expectProblem(answer, 415, 'unsupported_media_type', /content-type: application\/json/)
    expectProblem(
      await emit('{}', { 'content-encoding': 'gzip' }),
      415,
      'unsupported_media_type',
      /content-encoding/,
    )
  })

  it('is 422 where there is none, or null', async () => {
    expectProblem(await api.request('POST', '/v1/messages'), 422, 'validation_failed', /Send a JSON object/)
    expectProblem(await emit('null'), 422, 'validation_failed', /Send a JSON object/)
    expectProblem(await emit(''), 422, 'validation_failed', /Send a JSON object/)
    expectProblem(await emit('[]'), 422, 'validation_failed', /must be object/)
  })
})

describe('a body that is too much', () => {
  it('is 413 payload_too_large over the limit, which the answer names', async () => {
    const answer = await emit({ ...event, data: 'x'.repeat(262_144) })
    expectProblem(answer, 413, 'payload_too_large', /at most 262144 bytes/)
  })

  it('is taken up to the very limit', async () => {
    const rest = JSON.stringify({ ...event, data: '' }).length
    expect((await emit({ ...event, data: 'x'.repeat(262_144 - rest) })).status).toBe(202)
    expect((await emit({ ...event, data: 'x'.repeat(262_145 - rest) })).status).toBe(413)
  })

  it('is 422 payload_too_deep with 5,000 nested arrays, anywhere', async () => {
    const deep = '['.repeat(5_000) + ']'.repeat(5_000)
    const answer = await emit(`{"owner":"acme","type":"pay_info.paid","data":${deep}}`)
    expectProblem(answer, 422, 'payload_too_deep', /at most 64 deep/)
    expectProblem(await emit(deep), 422, 'payload_too_deep', /at most 64 deep/)
    const owner = await api.request('POST', '/v1/owners', { body: `{"uid":${deep}}` })
    expectProblem(owner, 422, 'payload_too_deep', /at most 64 deep/)
  })

  it('is 422 too_many_keys with more than 10,000 keys, or a million in a batch', async () => {
    const keys = (count: number) => `{${Array.from({ length: count }, (_, n) => `"${n}":0`).join(',')}}`
    const data = (count: number) => `{"owner":"acme","type":"pay_info.paid","data":${keys(count)}}`
    expect((await emit(data(9_997))).status).toBe(202)
    expectProblem(await emit(data(9_998)), 422, 'too_many_keys', /at most 10000 keys/)
    // Found before it is parsed: it is not even JSON.
    expectProblem(await emit(data(20_000).slice(0, -1)), 422, 'too_many_keys', /at most 10000 keys/)
    const batch = await api.request('POST', '/v1/messages/batch', {
      body: `{"messages":[${'{"":0,"":0},'.repeat(300_000)}0]}`,
    })
    expectProblem(batch, 422, 'too_many_keys', /at most 100000 keys/)
    const message = data(90)
    const many = await api.request('POST', '/v1/messages/batch', {
      body: `{"messages":[${Array(1_000).fill(message).join(',')}]}`,
    })
    expect(many.status).toBe(200)
  })

  it('is 422 payload_too_deep with as many brackets as the limit holds', async () => {
    expectProblem(await emit('['.repeat(131_072) + ']'.repeat(131_072)), 422, 'payload_too_deep', /64/)
  })
})

describe('forbidden keys', () => {
  it.each([
    '{"__proto__":{"admin":true},"owner":"acme","type":"pay_info.paid","data":1}',
    '{"owner":"acme","type":"pay_info.paid","data":{"a":[{"__proto__" : 1}]}}',
    '{"owner":"acme","type":"pay_info.paid","data":{"\\u005f_proto\\u005f_":1}}',
  ])('are 422 forbidden_key: %s', async (body) => {
    expectProblem(await emit(body), 422, 'forbidden_key', /__proto__.*Rename/)
  })

  it('are refused in every body', async () => {
    const answer = await api.request('POST', '/v1/owners', { body: '{"uid":"p","__proto__":{"name":"x"}}' })
    expectProblem(answer, 422, 'forbidden_key', /__proto__/)
  })

  it('may stand in a text, and constructor may be a key', async () => {
    expect((await emit({ ...event, data: { a: '__proto__', constructor: { prototype: 1 } } })).status).toBe(
      202,
    )
  })
})

describe('a body that does not fit', () => {
  it('is 422 unknown_field for a field that is not known, with the name that was meant', async () => {
    const answer = await emit({ ...event, timestmap: '2026-11-21T09:30:00Z' })
    expectProblem(answer, 422, 'unknown_field', /timestmap is not known; did you mean timestamp\?/)
    expect(answer.body.errors).toEqual([
      { path: '/timestmap', message: 'is not known; did you mean timestamp?' },
    ])
  })

  it('names the field that is not known even where another is missing for it', async () => {
    const answer = await emit({ owner: 'acme', typ: 'pay_info.paid', data: 1 })
    expectProblem(answer, 422, 'unknown_field', /typ is not known; did you mean type\?/)
    expect(answer.body.errors).toHaveLength(2)
  })

  it('names the field that is not known before anything else', async () => {
    const answer = await emit({ ...event, type: 'a b', dta: 1 })
    expectProblem(answer, 422, 'unknown_field', /dta is not known; did you mean data\? \(and 1 more/)
  })

  it('answers a bounded number of errors, however many there are', async () => {
    const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, at) => [`field${at}`, at]))
    const answer = await emit({ ...event, ...many })
    expectProblem(answer, 422, 'unknown_field', /is not known/)
    expect(answer.body.errors.length).toBeLessThanOrEqual(8)
    expect(answer.text.length).toBeLessThan(4_000)
  })

  it('is 422 validation_failed, naming what is missing or of another type', async () => {
    expectProblem(await emit({ owner: 'acme' }), 422, 'validation_failed', /needs type and data/)
    expectProblem(
      await emit({ ...event, owner: 7 }),
      422,
      'validation_failed',
      /owner must be an id or a uid/,
    )
    expectProblem(
      await emit({ ...event, id: 'a b' }),
      422,
      'validation_failed',
      /id must be 1 to 255 visible/,
    )
  })

  it('coerces nothing', async () => {
    const answer = await api.request('POST', '/v1/owners', { body: { uid: 7 } })
    expectProblem(answer, 422, 'validation_failed', /uid must be/)
  })

  it.each([
    'yesterday',
    '2026-02-30T00:00:00Z',
    '2026-11-21',
    '2026-11-21T25:00:00Z',
    '0000-01-01T00:00:00Z',
    1,
  ])('is 422 for the timestamp %j', async (timestamp) => {
    expectProblem(await emit({ ...event, timestamp }), 422, 'validation_failed', /timestamp must be a/)
  })

  it('refuses NUL and other control characters, which the database or a terminal could not bear', async () => {
    const answer = await api.request('POST', '/v1/owners', { body: { uid: 'nul', name: 'a\0b' } })
    expectProblem(answer, 422, 'validation_failed', /name must be 1 to 200 characters without control/)
  })

  it.each(['own_acme', 'ep_1', 'a b', '', 'ü', 'x'.repeat(129), '../x'])(
    'refuses the uid %j',
    async (uid) => {
      expectProblem(
        await api.request('POST', '/v1/owners', { body: { uid } }),
        422,
        'validation_failed',
        /uid must/,
      )
    },
  )
})

describe('event types', () => {
  it('unknown ones are 422 unknown_event_type with the nearest name', async () => {
    const answer = await emit({ ...event, type: 'pay_info.payd' })
    expectProblem(
      answer,
      422,
      'unknown_event_type',
      /pay_info\.payd is not in the catalogue\. Did you mean pay_info\.paid\?/,
    )
    const other = await emit({ ...event, type: 'zebra' })
    expectProblem(other, 422, 'unknown_event_type', /Make it with POST \/v1\/event-types/)
  })

  it.each(['pay info', 'pay..info', '.pay', 'pay.', 'zahlung.bezählt', 'a"b', '', 'a/b', 'x'.repeat(129)])(
    'with illegal characters are 422 invalid_event_type: %j',
    async (name) => {
      const detail = /must be groups of a-z A-Z 0-9 _ with a full stop/
      expectProblem(await emit({ ...event, type: name }), 422, 'invalid_event_type', detail)
      const made = await api.request('POST', '/v1/event-types', { body: { name } })
      expectProblem(made, 422, 'invalid_event_type', detail)
      const subscribed = await api.request('POST', '/v1/owners/acme/endpoints', {
        body: { url: 'https://example.com', eventTypes: [name] },
      })
      expectProblem(subscribed, 422, 'invalid_event_type', detail)
    },
  )
})

describe('owners', () => {
  it('unknown ones are 422 unknown_owner in a body, and 404 in a path', async () => {
    expectProblem(
      await emit({ ...event, owner: 'acne' }),
      422,
      'unknown_owner',
      /no owner acne.*POST \/v1\/owners/,
    )
    for (const path of [
      'acne',
      'own_00000000000000000000000000',
      'own_x',
      'ep_x',
      'a%20b',
      '%00',
      'x'.repeat(300),
    ]) {
      expectProblem(await api.request('GET', `/v1/owners/${path}`), 404, 'not_found', /no such owner/)
    }
  })
})

describe('URLs', () => {
  const endpoint = (body: object) =>
    api.request('POST', '/v1/owners/acme/endpoints', {
      body: { url: 'https://example.com/hook', eventTypes: ['pay_info.paid'], ...body },
    })

  it.each([
    ['ftp://example.com', 'url_scheme'],
    ['javascript:alert(1)', 'url_scheme'],
    ['file:///etc/passwd', 'url_scheme'],
    ['https://user:pw@example.com', 'url_credentials'],
    ['https://user@example.com', 'url_credentials'],
    ['https://example.com/#a', 'url_fragment'],
    ['example.com', 'url_invalid'],
    ['https://exa mple.com', 'url_invalid'],
    ['http://127.0.0.1/', 'url_host_refused'],
    ['http://[::ffff:127.0.0.1]/', 'url_host_refused'],
    ['http://169.254.169.254/latest', 'url_host_refused'],
  ])('%s is 422 %s', async (url, code) => {
    const answer = await endpoint({ url })
    expectProblem(answer, 422, code, /./)
    expect(answer.text).not.toContain('pw@')
    expect(answer.body.errors).toMatchObject([{ path: '/url' }])
  })

  it.each([
    ['host', 'a'],
    ['Content-Length', '1'],
    ['transfer-encoding', 'chunked'],
    ['Webhook-Signature', 'x'],
    ['proxy-authorization', 'x'],
    ['content-type', 'text/plain'],
    ['a b', 'x'],
    ['x-a', 'line\r\nx-b: 1'],
    ['x-a', 'nul\0'],
    ['x-a', 'ü'],
  ])('a header %j: %j is 422 invalid_header', async (name, value) => {
    expectProblem(await endpoint({ headers: { [name]: value } }), 422, 'invalid_header', /./)
  })

  it('an endpoint subscribes only to event types that are in the catalogue', async () => {
    const answer = await endpoint({ eventTypes: ['pay_info.paid', 'pay_info.pad'] })
    expectProblem(answer, 422, 'unknown_event_type', /Did you mean pay_info\.paid/)
    expect(answer.body.errors).toMatchObject([{ path: '/eventTypes/1' }])
  })

  it.each(['whsec_', 'whsec_short', 'x'.repeat(44), 'whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!'])(
    'a secret of its own must be one: %s',
    async (secret) => {
      const answer = await endpoint({ secret })
      expectProblem(answer, 422, 'invalid_secret', /24 to 64/)
    },
  )

  it('an attempt may not last longer than its lease', async () => {
    expectProblem(
      await endpoint({ attemptTimeoutMs: 60_000 }),
      422,
      'validation_failed',
      /less than the lease/,
    )
  })
})

describe('lists', () => {
  it('a cursor that was tampered with, or made with other filters, is 400 invalid_cursor', async () => {
    for (const uid of ['c1', 'c2', 'c3']) await api.request('POST', '/v1/owners', { body: { uid } })
    const { body } = await api.request('GET', '/v1/owners?limit=1')
    const cursor: string = body.next
    expect((await api.request('GET', `/v1/owners?limit=2&cursor=${cursor}`)).status).toBe(200)
    const swapped = cursor.slice(0, -3) + (cursor.at(-3) === 'A' ? 'B' : 'A') + cursor.slice(-2)
    for (const wrong of [swapped, 'x', '', `${cursor}A`, `${cursor}=`, cursor.slice(0, 20), '%00', "1'--"]) {
      const answer = await api.request('GET', `/v1/owners?cursor=${wrong}`)
      expectProblem(answer, 400, 'invalid_cursor', /next from the page before/)
    }
    for (const path of ['/v1/event-types', '/v1/messages', '/v1/deliveries', '/v1/owners/acme/endpoints']) {
      expectProblem(await api.request('GET', `${path}?cursor=${cursor}`), 400, 'invalid_cursor', /next/)
    }
  })

  it.each([
    ['/v1/owners?limit=0', 'validation_failed', /limit must be a whole number from 1 to 250/],
    ['/v1/owners?limit=251', 'validation_failed', /limit must/],
    ['/v1/owners?limit=ten', 'validation_failed', /limit must/],
    ['/v1/owners?limit=1.5', 'validation_failed', /limit must/],
    ['/v1/owners?limit=1&limit=2', 'validation_failed', /limit must/],
    ['/v1/owners?limits=1', 'unknown_field', /did you mean limit\?/],
    ['/v1/deliveries?state=lost', 'validation_failed', /state must be one of pending/],
    ['/v1/deliveries?message=dlv_x', 'validation_failed', /message must be an id that begins with msg_/],
    ['/v1/deliveries?endpoint=mine', 'validation_failed', /endpoint must be an id that begins with ep_/],
    ['/v1/deliveries?owner=nobody', 'unknown_owner', /no owner nobody/],
    ['/v1/deliveries?after=now', 'validation_failed', /after must be a time/],
    ['/v1/messages?before=2026-02-30T00:00:00Z', 'validation_failed', /before must be a day that exists/],
  ])('GET %s is 422 %s', async (path, code, detail) => {
    expectProblem(await api.request('GET', path), 422, code, detail)
  })
})

describe('paths', () => {
  it('an id of another kind, a malformed one and a missing one are the same 404', async () => {
    const ids = ['dlv_00000000000000000000000000', 'msg_00000000000000000000000000', 'dlv_x', 'x', '..%2f']
    const answers = await Promise.all(ids.map((id) => api.request('GET', `/v1/deliveries/${id}`)))
    for (const answer of answers) expectProblem(answer, 404, 'not_found', /no such delivery/)
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
    for (const id of ids.slice(2)) {
      expectProblem(await api.request('GET', `/v1/messages/${id}`), 404, 'not_found', /no such message/)
      expectProblem(
        await api.request('GET', `/v1/deliveries/${id}/attempts`),
        404,
        'not_found',
        /no such delivery/,
      )
      expectProblem(
        await api.request('POST', `/v1/deliveries/${id}/retry`),
        404,
        'not_found',
        /no such delivery/,
      )
    }
  })

  it('nothing there is 404, another method is 405 with Allow, a broken path is 400', async () => {
    expectProblem(await api.request('GET', '/v1/nothing'), 404, 'not_found', /\/docs/)
    const answer = await api.request('DELETE', '/v1/messages')
    expectProblem(answer, 405, 'method_not_allowed', /Use GET, HEAD, POST/)
    expect(answer.headers.get('allow')).toBe('GET, HEAD, POST')
    expectProblem(
      await api.request('PUT', '/v1/owners/acme', { body: {} }),
      405,
      'method_not_allowed',
      /PATCH/,
    )
    expectProblem(await api.request('GET', '/v1/owners/%zz'), 400, 'invalid_request', /percent sign/)
  })
})

describe('idempotency keys', () => {
  it('are 422 invalid_idempotency_key where they are not 1 to 255 visible characters, or given twice', async () => {
    for (const key of ['a b', 'x'.repeat(256), 'ü']) {
      const answer = await emit(event, { 'idempotency-key': key })
      expectProblem(answer, 422, 'invalid_idempotency_key', /1 to 255 visible/)
    }
    const both = await emit({ ...event, id: 'a' }, { 'idempotency-key': 'b' })
    expectProblem(both, 422, 'invalid_idempotency_key', /Give one of them/)
  })

  it('a message id from another day is 422 id_out_of_range', async () => {
    const answer = await emit({ ...event, id: 'msg_01h455vb4pex5vsknk084sn02q' })
    expectProblem(answer, 422, 'id_out_of_range', /at most a day/)
  })
})

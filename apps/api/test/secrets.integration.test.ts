import { createVault } from '@posthorn/store'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Answer, startTestApi, type TestApi } from './start-test-api.ts'

const CANARY = 'Bearer canary-of-a-header'
const SECRETS_MAX = 5
const WHSEC = /^whsec_[A-Za-z0-9+/]{43}=$/

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
  await api.request('POST', '/v1/event-types', { body: { name: 'a' } })
  await api.request('POST', '/v1/owners', { body: { uid: 'acme' } })
})
afterAll(() => api.close())

let made = 0

async function makeEndpoint(more: object = {}): Promise<{ path: string; body: Answer['body'] }> {
  const uid = `e${++made}`
  const body = { url: 'https://example.com/', eventTypes: ['a'], uid, ...more }
  const answer = await api.request('POST', '/v1/owners/acme/endpoints', { body })
  expect(answer.status, answer.text).toBe(201)
  return { path: `/v1/owners/acme/endpoints/${uid}`, body: answer.body }
}

const rotate = (path: string, body: object = {}) => api.request('POST', `${path}/secret/rotate`, { body })
const secretOf = async (path: string) => (await api.request('GET', `${path}/secret`)).body

function expectProblem(answer: Answer, status: number, code: string): void {
  expect(answer.status, answer.text).toBe(status)
  expect(answer.body.code).toBe(code)
  expect(answer.text).not.toContain('canary')
}

it('a secret header is named in every answer, and its value is in none', async () => {
  const headers = { 'x-tenant': 'acme', authorization: { value: CANARY, secret: true } }
  const { path, body } = await makeEndpoint({ headers })
  const shown = { 'x-tenant': 'acme', authorization: { secret: true } }
  expect(body.headers).toEqual(shown)
  const answers = [
    await api.request('GET', path),
    await api.request('GET', '/v1/owners/acme/endpoints'),
    await api.request('PATCH', path, { body: { description: 'changed' } }),
  ]
  for (const { text } of answers) expect(text).not.toContain('canary')
  expect(answers[0]!.body.headers).toEqual(shown)
  expect(answers[2]!.body.headers).toEqual(shown)
  // What was shown may be given back as it is: the value stays.
  const { secretHeaders: before } = await api.store.prisma.endpoint.findFirstOrThrow({
    where: { uid: body.uid },
  })
  expect((await api.request('PATCH', path, { body: { headers: shown } })).body.headers).toEqual(shown)
  const after = await api.store.prisma.endpoint.findFirstOrThrow({ where: { uid: body.uid } })
  expect(after.secretHeaders).toEqual(before)
  // What is left out goes, and a text makes it an ordinary one.
  const plain = { authorization: 'none' }
  expect((await api.request('PATCH', path, { body: { headers: plain } })).body.headers).toEqual(plain)
  expect((await api.request('PATCH', path, { body: { headers: {} } })).body.headers).toEqual({})
})

it.each<[string, object, string]>([
  ['no value to keep', { authorization: { secret: true } }, 'invalid_header'],
  ['the name in another case', { Authorization: { secret: true } }, 'invalid_header'],
  ['the same name twice', { 'x-a': CANARY, 'X-A': { value: CANARY, secret: true } }, 'invalid_header'],
  ['a line end in the value', { 'x-a': { value: `${CANARY}\r\nx-b: 1`, secret: true } }, 'invalid_header'],
  ['a name that Posthorn sets', { 'Webhook-Id': { value: CANARY, secret: true } }, 'invalid_header'],
  ['a number', { 'x-a': 7 }, 'invalid_header'],
  ['no secret', { 'x-a': { value: CANARY } }, 'validation_failed'],
  ['a secret that is false', { 'x-a': { value: CANARY, secret: false } }, 'validation_failed'],
  ['something else in it', { 'x-a': { value: CANARY, secret: true, canary: 1 } }, 'unknown_field'],
])('headers with %s are refused, without repeating a value', async (_, headers, code) => {
  const { path } = await makeEndpoint({ headers: { 'x-kept': { value: CANARY, secret: true } } })
  const changed = await api.request('PATCH', path, { body: { headers } })
  expect(changed.status, changed.text).toBe(422)
  expect(changed.body.code).toBe(code)
  expect(changed.text).not.toContain('Bearer')
  expect((await api.request('GET', path)).body.headers).toEqual({ 'x-kept': { secret: true } })
})

it('a secret is rotated: the new one is shown, and until when the old one signs', async () => {
  const { path, body } = await makeEndpoint()
  const answer = await rotate(path)
  expect(answer.status, answer.text).toBe(200)
  expect(answer.headers.get('cache-control')).toBe('no-store')
  expect(answer.body.secret).toMatch(WHSEC)
  expect(answer.body.secret).not.toBe(body.secret)
  const [{ expiresAt }, ...others] = answer.body.previous
  expect(others).toEqual([])
  expect(Math.abs(Date.parse(expiresAt) - Date.now() - 86_400_000)).toBeLessThan(60_000)
  expect(await secretOf(path)).toEqual(answer.body)

  const given = `whsec_${Buffer.alloc(24, 7).toString('base64')}`
  const second = await rotate(path, { secret: given, overlapS: 60 })
  expect(second.body.secret).toBe(given)
  // The overlap is the longest that any of them has left.
  for (const previous of second.body.previous) {
    expect(Date.parse(previous.expiresAt)).toBeLessThan(Date.now() + 61_000)
  }
  expect(second.body.previous).toHaveLength(2)
  expect((await rotate(path, { overlapS: 0 })).body.previous).toEqual([])
})

it('so many secrets are valid at once and no more, until they are ended', async () => {
  const { path } = await makeEndpoint()
  for (let n = 1; n < SECRETS_MAX; n++) expect((await rotate(path)).status).toBe(200)
  const before = await secretOf(path)
  expect(before.previous).toHaveLength(SECRETS_MAX - 1)
  // A shorter overlap of a rotation that was refused does not count.
  expectProblem(await rotate(path, { overlapS: 60 }), 409, 'too_many_secrets')
  expect(await secretOf(path)).toEqual(before)
  expect((await rotate(path, { overlapS: 0 })).body.previous).toEqual([])
})

it('many rotations at once leave as many secrets as can be, one of them the newest', async () => {
  const { path } = await makeEndpoint()
  const answers = await Promise.all(Array.from({ length: 8 }, () => rotate(path)))
  expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 200, 200, 200, 409, 409, 409, 409])
  expect((await secretOf(path)).previous).toHaveLength(SECRETS_MAX - 1)
})

it('a rotation that cannot be is refused', async () => {
  const { path, body } = await makeEndpoint()
  expectProblem(await rotate(path, { secret: body.secret }), 422, 'invalid_secret')
  expectProblem(await rotate(path, { secret: 'whsec_canary' }), 422, 'invalid_secret')
  expectProblem(await rotate(path, { overlapS: 7 * 86_400 + 1 }), 422, 'validation_failed')
  expectProblem(await rotate(path, { overlapS: -1 }), 422, 'validation_failed')
  expectProblem(await rotate(path, { overlap: 1 }), 422, 'unknown_field')
  expectProblem(await rotate('/v1/owners/acme/endpoints/none'), 404, 'not_found')
  expectProblem(await rotate('/v1/owners/none/endpoints/e1'), 404, 'not_found')
  expect(await secretOf(path)).toMatchObject({ secret: body.secret, previous: [] })
})

it('an API without the master key says so, and goes on with all that needs no secret', async () => {
  const { path } = await makeEndpoint({ headers: { 'x-a': { value: CANARY, secret: true } } })
  const other = await startTestApi({
    databaseUrl: async () => api.database.url,
    vault: createVault([Buffer.alloc(32, 3)]),
  })
  try {
    for (const [method, suffix, body] of [
      ['GET', '/secret', undefined],
      ['POST', '/secret/rotate', {}],
      ['PATCH', '', { headers: { 'x-b': { value: CANARY, secret: true } } }],
    ] as const) {
      expectProblem(
        await other.request(method, `${path}${suffix}`, { ...(body && { body }) }),
        503,
        'secrets_unreadable',
      )
    }
    expect((await other.request('GET', path)).body.headers).toEqual({ 'x-a': { secret: true } })
    expect((await other.request('PATCH', path, { body: { description: 'x' } })).status).toBe(200)
    const emitted = await other.request('POST', '/v1/messages', {
      body: { owner: 'acme', type: 'a', data: 1 },
    })
    expect(emitted.status).toBe(202)
    expect((await other.request('GET', '/readyz')).status).toBe(200)
  } finally {
    await other.close()
  }
})

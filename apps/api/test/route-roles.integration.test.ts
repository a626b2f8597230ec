import { encodeId, type IdPrefix, newUuid, type Role } from '@posthorn/contracts'
import { sharedSecret } from '@posthorn/store'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encodeCursor } from '../src/cursor.ts'
import { ownerTokenKey, signOwnerToken } from '../src/owner-token.ts'
import { type Answer, API_KEY, startTestApi, type TestApi } from './start-test-api.ts'

/** What a route needs to be used, and by whom it may be. A route that is not here fails the first test. */
interface Expected {
  /** Beside admin. */
  roles: Exclude<Role, 'admin'>[]
  status: number
  body?: (things: Things) => object
}

const READ = ['read'] satisfies Expected['roles']
const READ_OWNER = ['read', 'owner'] satisfies Expected['roles']
const OWNER = ['owner'] satisfies Expected['roles']
const EMIT = ['emit'] satisfies Expected['roles']

let count = 0
const unique = (name: string) => `${name}_${++count}`
const endpointBody = () => ({ url: 'https://example.com/hook', eventTypes: ['a.b'], uid: unique('made') })
const message = ({ owner }: Things) => ({ owner, type: 'a.b', data: 1 })
const past = { after: '2020-01-01T00:00:00Z', state: 'missing' }

const expected: Record<string, Expected> = {
  'POST /v1/event-types': { roles: [], status: 201, body: () => ({ name: unique('type') }) },
  'GET /v1/event-types': { roles: READ, status: 200 },
  'GET /v1/event-types/{name}': { roles: READ, status: 200 },
  'PATCH /v1/event-types/{name}': { roles: [], status: 200, body: () => ({ description: 'x' }) },
  'DELETE /v1/event-types/{name}': { roles: [], status: 204 },
  'POST /v1/owners': { roles: [], status: 201, body: () => ({ uid: unique('owner') }) },
  'GET /v1/owners': { roles: READ, status: 200 },
  'GET /v1/owners/{owner}': { roles: READ, status: 200 },
  'PATCH /v1/owners/{owner}': { roles: [], status: 200, body: () => ({ name: 'x' }) },
  'DELETE /v1/owners/{owner}': { roles: [], status: 204 },
  'POST /v1/owners/{owner}/tokens': { roles: [], status: 201, body: () => ({ expiresInS: 60 }) },
  'POST /v1/owners/{owner}/endpoints': { roles: OWNER, status: 201, body: endpointBody },
  'GET /v1/owners/{owner}/endpoints': { roles: READ_OWNER, status: 200 },
  'GET /v1/owners/{owner}/endpoints/{endpoint}': { roles: READ_OWNER, status: 200 },
  'PATCH /v1/owners/{owner}/endpoints/{endpoint}': {
    roles: OWNER,
    status: 200,
    body: () => ({ description: 'x' }),
  },
  'DELETE /v1/owners/{owner}/endpoints/{endpoint}': { roles: OWNER, status: 204 },
  'GET /v1/owners/{owner}/endpoints/{endpoint}/secret': { roles: OWNER, status: 200 },
  'POST /v1/owners/{owner}/endpoints/{endpoint}/secret/rotate': {
    roles: OWNER,
    status: 200,
    body: () => ({ overlapS: 0 }),
  },
  'POST /v1/owners/{owner}/endpoints/{endpoint}/replays': { roles: OWNER, status: 202, body: () => past },
  'GET /v1/owners/{owner}/endpoints/{endpoint}/replays': { roles: READ_OWNER, status: 200 },
  'GET /v1/replays/{replay}': { roles: READ_OWNER, status: 200 },
  'POST /v1/replays/{replay}/cancel': { roles: OWNER, status: 200 },
  'POST /v1/messages': { roles: EMIT, status: 202, body: message },
  'POST /v1/messages/batch': {
    roles: EMIT,
    status: 200,
    body: (things) => ({ messages: [message(things)] }),
  },
  'GET /v1/messages': { roles: READ_OWNER, status: 200 },
  'GET /v1/messages/{message}': { roles: READ_OWNER, status: 200 },
  'POST /v1/messages/{message}/expunge': { roles: [], status: 200 },
  'POST /v1/messages/expunge': { roles: [], status: 200, body: ({ owner }) => ({ owner }) },
  'GET /v1/deliveries': { roles: READ_OWNER, status: 200 },
  'GET /v1/deliveries/{delivery}': { roles: READ_OWNER, status: 200 },
  'GET /v1/deliveries/{delivery}/attempts': { roles: READ_OWNER, status: 200 },
  'POST /v1/deliveries/{delivery}/retry': { roles: OWNER, status: 202 },
  'GET /v1/retry-policy': { roles: READ, status: 200 },
  'POST /v1/api-keys': { roles: [], status: 201, body: () => ({ name: 'x', role: 'emit' }) },
  'GET /v1/api-keys': { roles: READ, status: 200 },
  'GET /v1/api-keys/{key}': { roles: READ, status: 200 },
  'DELETE /v1/api-keys/{key}': { roles: [], status: 204 },
  'GET /v1/audit-log': { roles: READ_OWNER, status: 200 },
}
const OPEN = ['GET /healthz', 'GET /readyz']

/** Ids to put into paths, by the name of the parameter. */
interface Things {
  owner: string
  endpoint: string
  message: string
  delivery: string
  replay: string
  name: string
  key: string
}

interface Operation {
  route: string
  method: string
  path: string
  params: string[]
  query: string[]
  bodyMembers: string[] | undefined
}

let api: TestApi
let operations: Operation[]
let own: Things
let foreign: Things
let keys: Record<string, string | null>

beforeAll(async () => {
  api = await startTestApi()
  operations = await readOperations()
  await root('POST', '/v1/event-types', { name: 'a.b' })
  own = await makeThings('acme')
  foreign = await makeThings('globex')
  const key = async (role: Role, owner?: string) =>
    (await api.createKey({ name: `${role}`, role, ...(owner !== undefined && { owner }) })).key
  const revoked = await api.createKey({ name: 'revoked', role: 'admin' })
  await root('DELETE', `/v1/api-keys/${revoked.id}`)
  const expired = await api.createKey({ name: 'expired', role: 'admin' })
  await api.store.prisma.apiKey.updateMany({ where: { name: 'expired' }, data: { expiresAt: new Date(0) } })
  const token = async (owner: string) => (await root('POST', `/v1/owners/${owner}/tokens`, {})).token
  const tokenKey = ownerTokenKey(await sharedSecret(api.store.pool, 'owner-token'), API_KEY)
  const acme = await api.store.prisma.owner.findFirstOrThrow({ where: { uid: 'acme' } })
  const claims = { id: newUuid(), ownerId: acme.id, expiresAtS: Math.floor(Date.now() / 1_000) }
  keys = {
    none: null,
    wrong: 'phk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    revoked: revoked.key,
    expired: expired.key,
    'expired token': signOwnerToken(tokenKey, { ...claims, expiresAtS: claims.expiresAtS - 1 }),
    'forged token': signOwnerToken(Buffer.alloc(32), { ...claims, expiresAtS: claims.expiresAtS + 60 }),
    root: API_KEY,
    admin: await key('admin'),
    emit: await key('emit'),
    read: await key('read'),
    owner: await key('owner', 'acme'),
    token: await token('acme'),
    'owner of globex': await key('owner', 'globex'),
    'token of globex': await token('globex'),
  }
})
afterAll(() => api.close())

it('every route of the OpenAPI document is in the table, and nothing else', () => {
  expect(operations.map(({ route }) => route).sort()).toEqual([...Object.keys(expected), ...OPEN].sort())
})

it('what is open needs no key', async () => {
  for (const route of OPEN) {
    const [method, path] = route.split(' ') as [string, string]
    for (const key of Object.values(keys)) expect((await api.request(method, path, { key })).status).toBe(200)
  }
})

const STRANGERS = ['none', 'wrong', 'revoked', 'expired', 'expired token', 'forged token']
const PLATFORM: Record<string, Role> = { root: 'admin', admin: 'admin', emit: 'emit', read: 'read' }
const OWNERS = ['owner', 'token', 'owner of globex', 'token of globex']

describe.each(Object.keys(expected))('%s', (route) => {
  const { roles, status, body } = expected[route]!
  const changes = !route.startsWith('GET ')
  const ask = (actor: string, things: Things, more: { query?: string; body?: object } = {}) => {
    const operation = operations.find((one) => one.route === route)!
    const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: keyof Things) => things[name])
    const sent = more.body ?? body?.(things)
    return api.request(operation.method, path + (more.query ?? ''), {
      key: keys[actor]!,
      ...(sent !== undefined && { body: sent }),
    })
  }
  const params = () => operations.find((one) => one.route === route)!.params
  const query = () => operations.find((one) => one.route === route)!.query
  // What a change takes away is not there for the next one.
  const fresh = async (owner: 'acme' | 'globex') =>
    changes ? await makeThings(owner) : owner === 'acme' ? own : foreign

  it.each(STRANGERS)('lets nobody in with a key that is not good: %s', async (actor) => {
    const answer = await ask(actor, own)
    expect(answer).toMatchObject({ status: 401, body: { code: 'unauthorized' } })
    expect(answer.text).toBe((await ask('none', missingThings())).text)
  })

  it.each(Object.keys(PLATFORM))('keeps to the role: %s', async (actor) => {
    const role = PLATFORM[actor]!
    if (role !== 'admin' && !roles.includes(role)) {
      for (const things of [own, missingThings()]) {
        expect(await ask(actor, things)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
      }
      return
    }
    for (const owner of ['acme', 'globex'] as const) {
      // An owner is there once.
      if (route === 'DELETE /v1/owners/{owner}') {
        const { uid } = await root('POST', '/v1/owners', { uid: unique('owner') })
        expect((await ask(actor, { ...own, owner: uid })).status).toBe(status)
      } else {
        expect(await ask(actor, await fresh(owner))).toMatchObject({ status })
      }
    }
    if (params().length > 0) {
      expect(await ask(actor, missingThings())).toMatchObject({ status: 404, body: { code: 'not_found' } })
    }
  })

  it.each(OWNERS)('keeps to the owner: %s', async (actor) => {
    if (!roles.includes('owner')) {
      for (const things of [own, foreign, missingThings()]) {
        expect(await ask(actor, things)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
      }
      return
    }
    const isAcme = !actor.endsWith('globex')
    const [mine, theirs] = isAcme ? [own, foreign] : [foreign, own]
    expect(await ask(actor, await fresh(isAcme ? 'acme' : 'globex'))).toMatchObject({ status })
    const names = params()
    if (names.length > 0) {
      const missing = missingThings()
      // The uid of the other owner, its id, and other's things under one's own owner.
      const pairs: [things: Things, absent: Things][] = [
        [theirs, { ...missing, owner: unique('missing') }],
        [{ ...theirs, owner: await ownerId(theirs.owner) }, missing],
      ]
      if (names.includes('endpoint')) {
        pairs.push([
          { ...theirs, owner: mine.owner },
          { ...missing, owner: mine.owner },
        ])
      }
      for (const [things, absent] of pairs) {
        await expectTheSame(
          () => ask(actor, things),
          () => ask(actor, absent),
          { things, absent },
        )
        expect((await ask(actor, things)).status).toBe(404)
      }
    }
    const theirId = await ownerId(theirs.owner)
    const filters: [name: keyof Things, foreign: string, missing: string][] = [
      ['owner', theirs.owner, unique('missing')],
      ['owner', theirId, missingThings().owner],
      ['endpoint', theirs.endpoint, missingThings().endpoint],
      ['endpoint', await endpointUid(theirs), unique('missing')],
      ['message', theirs.message, missingThings().message],
    ]
    for (const [name, foreignId, missingId] of filters.filter(([one]) => query().includes(one))) {
      await expectTheSame(
        () => ask(actor, mine, { query: `?${name}=${foreignId}` }),
        () => ask(actor, mine, { query: `?${name}=${missingId}` }),
        { things: { ...theirs, [name]: foreignId }, absent: { ...theirs, [name]: missingId } },
      )
    }
    if (names.length === 0) {
      const { data } = (await ask(actor, mine)).body as { data: { owner: string }[] }
      const mineOnly = await ownerId(mine.owner)
      expect(data.length).toBeGreaterThan(0)
      expect(data.filter(({ owner }) => owner !== mineOnly)).toEqual([])
      for (const owner of [mine.owner, mineOnly]) {
        expect((await ask(actor, mine, { query: `?owner=${owner}` })).body.data).toEqual(data)
      }
    }
  })

  it('leaves an entry in the audit log for what it changes, and for nothing else', async () => {
    const isEmit = roles.includes('emit')
    const ofMany = route === 'POST /v1/messages/expunge'
    const things = await fresh('acme')
    // An owner is there once.
    if (route === 'DELETE /v1/owners/{owner}') {
      things.owner = (await root('POST', '/v1/owners', { uid: unique('owner') })).uid
    }
    const before = await lastAuditEntry()
    const answer = await ask('admin', things)
    expect(answer.status).toBe(status)
    const entry = await lastAuditEntry()
    if (!changes || isEmit) return expect(entry).toEqual(before)
    const [method, path] = route.split(' ')
    expect(entry).toEqual({
      id: expect.stringMatching(/^aud_/),
      at: expect.any(String),
      actor: { kind: 'key', id: expect.stringMatching(/^key_/), name: 'admin', owner: null },
      address: '127.0.0.1',
      method,
      route: path!.replaceAll(/\{(\w+)\}/g, ':$1'),
      owner: path!.includes('{owner}') ? expect.stringMatching(/^own_/) : entry.owner,
      resource: {
        type: expect.any(String),
        id: ofMany ? null : expect.any(String),
      },
      members: Object.keys(body?.(things) ?? {}),
      status,
      requestId: expect.any(String),
    })
    // What was made or changed, by the id that the answer or the path has.
    const about = [answer.body?.id ?? answer.body?.name, ...Object.values(things)]
    const deletedOwner = route === 'DELETE /v1/owners/{owner}' ? [entry.owner] : []
    if (!ofMany) expect([...about, ...deletedOwner]).toContain(entry.resource.id)

    const refused = await ask('admin', params().length > 0 ? missingThings() : things, { body: { x: 1 } })
    expect(refused.status).toBeGreaterThanOrEqual(400)
    expect(await lastAuditEntry()).toEqual(entry)
  })

  it('takes an id of another kind for one that is missing', async () => {
    for (const name of params().filter((one) => one !== 'name' && one !== 'owner')) {
      for (const other of ['own', 'ep', 'msg', 'dlv', 'rpl', 'key', 'att', 'tok'] as const) {
        if (own[name as keyof Things].startsWith(other)) continue
        const things = { ...own, [name]: encodeId(other, newUuid()) }
        expect([name, other, (await ask('root', things)).status]).toEqual([name, other, 404])
      }
      for (const text of ['x', '%00', '..%2f..', `${own[name as keyof Things]}x`, "1'--", 'x'.repeat(300)]) {
        expect((await ask('root', { ...own, [name]: text })).status).toBe(404)
      }
    }
  })

  it('refuses members that it does not know, such as ownerId, state and id', async () => {
    const { bodyMembers } = operations.find((one) => one.route === route)!
    if (bodyMembers === undefined) return
    for (const member of [
      'ownerId',
      'owner_id',
      'state',
      'id',
      'role',
      'deletedAt',
      'createdAt',
      'secretId',
    ]) {
      if (bodyMembers.includes(member)) continue
      const answer = await ask('root', own, { body: { ...body!(own), [member]: own.owner } })
      expect([member, answer.status, answer.body.code]).toEqual([member, 422, 'unknown_field'])
    }
  })

  it('refuses cursors that it did not make', async () => {
    if (!query().includes('cursor')) return
    const lists = ['owners', 'event-types', 'api-keys', 'deliveries', 'messages', 'audit-log', 'attempts']
    const made = ["x'", '7', '', '0'.repeat(40)].flatMap((position) =>
      lists.map((list) => encodeCursor(list, {}, position)),
    )
    for (const cursor of ['x', '%00', 'AAAA', '_'.repeat(64), ...made]) {
      const answer = await ask('root', own, { query: `?cursor=${cursor}` })
      // The list of event types goes on after any name, be it one or not.
      const isName = route === 'GET /v1/event-types' && answer.status === 200
      if (!isName) expect([cursor, answer.status, answer.body.code]).toEqual([cursor, 400, 'invalid_cursor'])
    }
    expect((await ask('root', own, { query: `?cursor=${'A'.repeat(513)}` })).status).toBe(422)
  })
})

it('deliveries to an endpoint of another owner are not even looked through', async () => {
  const list = (endpoint: string) => () =>
    api.request('GET', `/v1/deliveries?endpoint=${endpoint}`, { key: keys.owner! })
  expect((await list(foreign.endpoint)()).body).toEqual({ data: [], next: null })
  const [looked, notLooked] = [
    await leastStatementsOf(list(own.endpoint)),
    await leastStatementsOf(list(foreign.endpoint)),
  ]
  expect(notLooked).toBe(looked - 1)
})

it('the keys of an owner that is deleted end with it, and so do its tokens', async () => {
  await root('POST', '/v1/owners', { uid: 'gone' })
  const { key, id } = await api.createKey({ name: 'x', role: 'owner', owner: 'gone' })
  const { token } = await root('POST', '/v1/owners/gone/tokens', {})
  const path = '/v1/deliveries'
  for (const text of [key, token]) expect((await api.request('GET', path, { key: text })).status).toBe(200)
  await root('DELETE', '/v1/owners/gone')
  expect(await root('GET', `/v1/api-keys/${id}`)).toMatchObject({ revokedAt: expect.any(String) })
  for (const text of [key, token]) {
    await expect
      .poll(async () => (await api.request('GET', path, { key: text })).status, { timeout: 10_000 })
      .toBe(401)
  }
  // Another one of the same name is another one.
  await root('POST', '/v1/owners', { uid: 'gone' })
  for (const text of [key, token]) expect((await api.request('GET', path, { key: text })).status).toBe(401)
})

/** The same answer but for the ids that were asked for, after as many statements. */
async function expectTheSame(
  askThings: () => Promise<Answer>,
  askAbsent: () => Promise<Answer>,
  { things, absent }: { things: Things; absent: Things },
): Promise<void> {
  const plain = ({ status, text }: Answer, asked: Things) => ({
    status,
    text: Object.values(asked).reduce((rest, id: string) => rest.replaceAll(id, '…'), text),
  })
  expect(plain(await askThings(), things)).toEqual(plain(await askAbsent(), absent))
  expect(await leastStatementsOf(askThings)).toBe(await leastStatementsOf(askAbsent))
}

/** Others use the pool too (a key is looked up again, the load is measured): they can only add to it. */
async function leastStatementsOf(run: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let time = 0; time < 5; time++) least = Math.min(least, await statementsOf(run))
  return least
}

async function statementsOf(run: () => Promise<unknown>): Promise<number> {
  let statements = 0
  const note = () => {
    statements += 1
  }
  api.store.pool.on('acquire', note)
  await run()
  api.store.pool.off('acquire', note)
  return statements
}

async function lastAuditEntry() {
  return (await root('GET', '/v1/audit-log?limit=1')).data[0]
}

async function root(method: string, path: string, body?: object) {
  const answer = await api.request(method, path, body === undefined ? {} : { body })
  expect(answer.status, answer.text).toBeLessThan(300)
  return answer.body
}

/** An endpoint of this owner, with what it got, and a key and an event type beside it. */
async function makeThings(owner: string): Promise<Things> {
  await api.request('POST', '/v1/owners', { body: { uid: owner } })
  const name = unique('type')
  await root('POST', '/v1/event-types', { name })
  const { id: endpoint } = await root('POST', `/v1/owners/${owner}/endpoints`, endpointBody())
  const { id: messageId } = await root('POST', '/v1/messages', { owner, type: 'a.b', data: 1 })
  const { data } = await root('GET', `/v1/deliveries?message=${messageId}&endpoint=${endpoint}`)
  const path = `/v1/owners/${owner}/endpoints/${endpoint}/replays`
  const { id: replay } = await root('POST', path, { ...past, before: new Date().toISOString() })
  const { id: key } = await api.createKey({ name: 'x', role: 'emit' })
  return { owner, endpoint, message: messageId, delivery: data[0].id, replay, name, key }
}

function missingThings(): Things {
  const id = (prefix: IdPrefix) => encodeId(prefix, newUuid())
  return {
    owner: id('own'),
    endpoint: id('ep'),
    message: id('msg'),
    delivery: id('dlv'),
    replay: id('rpl'),
    name: unique('missing'),
    key: id('key'),
  }
}

async function ownerId(uid: string): Promise<string> {
  return (await root('GET', `/v1/owners/${uid}`)).id
}

async function endpointUid({ owner, endpoint }: Things): Promise<string> {
  return (await root('GET', `/v1/owners/${owner}/endpoints/${endpoint}`)).uid
}

async function readOperations(): Promise<Operation[]> {
  const { body } = await api.request('GET', '/openapi.json', { key: null })
  const methods = Object.entries(body.paths as Record<string, Record<string, OpenApiOperation>>)
  return methods.flatMap(([path, byMethod]) =>
    Object.entries(byMethod).map(([method, { parameters = [], requestBody }]) => ({
      route: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase(),
      path,
      params: parameters.filter((one) => one.in === 'path').map((one) => one.name),
      query: parameters.filter((one) => one.in === 'query').map((one) => one.name),
      bodyMembers:
        requestBody && Object.keys(requestBody.content['application/json']!.schema.properties ?? {}),
    })),
  )
}

interface OpenApiOperation {
  parameters?: { in: string; name: string }[]
  requestBody?: { content: Record<string, { schema: { properties?: object } }> }
}

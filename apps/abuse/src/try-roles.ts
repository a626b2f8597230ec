import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeId, encodeId, type IdPrefix, newUuid } from '@posthorn/contracts'
import { waitFor } from '@posthorn/testkit'
import { type Operation, readOperations } from './api-operations.ts'
import { type Mark, nothingFound } from './mark.ts'
import type { Platform } from './start-platform.ts'
import { startResponder } from './start-responder.ts'

/** A caller, and what a secured operation answers it. */
interface Caller {
  name: string
  key: string | null
  /** Undefined: it may. */
  refusal(operation: Operation): number | undefined
}

/** What stands in a path, by the name of the parameter. */
type Things = Record<'owner' | 'endpoint' | 'message' | 'delivery' | 'replay', string>

const EVENT_TYPE = 'abuse.roles'
const [OWN, FOREIGN] = ['roles-own', 'roles-foreign']

/** Of operations that need more than an empty object. */
const BODIES: Record<string, object> = {
  createEndpoint: { url: 'http://127.77.0.1:9/', eventTypes: [EVENT_TYPE] },
  updateEndpoint: { description: 'x' },
  createReplay: { after: '2020-01-01T00:00:00Z', state: 'missing' },
}

/**
 * Every operation by every kind of caller, held against the roles that the API document names; and those that are
 * for owners with what is the owner's own, another's and nobody's.
 */
export async function tryRoles(platform: Platform): Promise<{ routesTimesRoles: number; marks: Mark[] }> {
  await using stack = new AsyncDisposableStack()
  const running = await startResponder({
    name: 'roles',
    outcomes: [],
    onRequest: (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
  })
  stack.defer(() => running.close())
  await platform.make('POST', '/v1/event-types', { name: EVENT_TYPE })
  for (const uid of [OWN, FOREIGN]) await platform.make('POST', '/v1/owners', { uid })
  const { operations } = await readOperations(platform)
  const callers = await makeCallers(platform)
  const findings = operations
    .filter(({ isSecured, roles }) => isSecured && !roles.includes('admin'))
    .map(({ method, path }) => `${method} ${path}: the document does not say whose it is`)
  let tried = 0
  for (const operation of operations) {
    for (const { name, key, refusal } of callers) {
      tried += 1
      const path = operation.path.replace(/\{\w+\}/g, 'posthorn')
      const { status, text, headers } = await platform.request(operation.method, path, {
        key,
        ...(operation.body !== undefined && { body: {} }),
      })
      const expected = operation.isSecured ? refusal(operation) : undefined
      const isFine =
        expected === undefined ? status !== 401 && status !== 403 && status < 500 : status === expected
      if (!isFine) findings.push(`${name}, ${operation.method} ${operation.path}: ${status} ${text}`)
      if (status === 401 && headers.get('www-authenticate') === null)
        findings.push(`${name}: no www-authenticate`)
    }
  }
  const owners = await tryOwners(platform, operations, running.url)
  const pairs = operations.length * callers.length
  return {
    routesTimesRoles: tried + owners.tried,
    marks: [
      {
        what: 'routes × roles covered',
        found: `${Math.floor((100 * tried) / pairs)} % of ${pairs}`,
        mark: '100 %',
        held: tried === pairs && callers.length >= 12,
        findings: [],
      },
      nothingFound('routes that let somebody in who may not', tried, findings),
      nothingFound("what is an owner's own and not let through", owners.tried, owners.refused),
      nothingFound("what is another owner's and not the same as missing", owners.tried, owners.found),
      nothingFound('changes that the audit log does not have', owners.changes, owners.unaudited),
    ],
  }
}

async function makeCallers(platform: Platform): Promise<Caller[]> {
  const { apiKey } = platform.secrets
  const stranger = (name: string, key: string | null): Caller => ({ name, key, refusal: () => 401 })
  const holder = (name: string, role: string, key: string): Caller => ({
    ...{ name, key },
    refusal: ({ roles }) => (roles.includes(role) ? undefined : 403),
  })
  const token = await makeToken(platform, OWN, 3_600)
  const { expiresAt, token: shortToken } = await platform.make('POST', `/v1/owners/${OWN}/tokens`, {
    expiresInS: 1,
  })
  await delay(Math.max(0, Date.parse(expiresAt) - Date.now()) + 100)
  const ownerUuid = await uuidOf(platform, OWN)
  // The database holds no such key either, until it is told to.
  await platform.query('ALTER TABLE api_keys DROP CONSTRAINT api_keys_owner')
  return [
    stranger('no key', null),
    stranger('a wrong key', `phk_canarywrong${randomBytes(16).toString('hex')}`),
    stranger('half of the key', apiKey.slice(0, -1)),
    stranger('the key twice', apiKey.repeat(2)),
    stranger('a key that was revoked', await makeKey(platform, 'admin', { isRevoked: true })),
    stranger('a key that has expired', await makeKey(platform, 'admin', { isExpired: true })),
    stranger('a token that has expired', shortToken as string),
    stranger('a token that was changed', forOwner(token, await uuidOf(platform, FOREIGN))),
    holder('the root key', 'admin', apiKey),
    holder('a key with the role admin', 'admin', await makeKey(platform, 'admin')),
    holder('a key with the role emit', 'emit', await makeKey(platform, 'emit')),
    holder('a key with the role read', 'read', await makeKey(platform, 'read')),
    holder('a key with the role owner', 'owner', await makeKey(platform, 'owner', { ownerUuid })),
    holder('an owner token', 'owner', token),
    {
      name: 'a key of the role owner, without an owner',
      key: await makeKey(platform, 'owner'),
      refusal: () => 403,
    },
    {
      name: 'a key of the role read, with an owner',
      key: await makeKey(platform, 'read', { ownerUuid }),
      refusal: () => 403,
    },
  ]
}

interface OwnersTried {
  tried: number
  changes: number
  refused: string[]
  found: string[]
  unaudited: string[]
}

/** What owners may do, with ids of their own, of another owner and of nobody. */
async function tryOwners(
  platform: Platform,
  operations: readonly Operation[],
  url: string,
): Promise<OwnersTried> {
  const result: OwnersTried = { tried: 0, changes: 0, refused: [], found: [], unaudited: [] }
  const theirs = await makeThings(platform, FOREIGN, url)
  const theirOwnerId = encodeId('own', await uuidOf(platform, FOREIGN))
  const kept = await makeThings(platform, OWN, url)
  const ownerUuid = await uuidOf(platform, OWN)
  const callers = {
    'a key': await makeKey(platform, 'owner', { ownerUuid }),
    'a token': await makeToken(platform, OWN, 3_600),
  }
  const audited = async () =>
    (await platform.query<{ count: number }>('SELECT count(*)::int AS count FROM audit_log'))[0]!.count

  for (const operation of operations.filter(({ roles }) => roles.includes('owner'))) {
    const { method, id } = operation
    const names = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name as keyof Things)
    for (const [caller, key] of Object.entries(callers)) {
      const said = `${caller}, ${method} ${operation.path}`
      const ask = (things: Things, query = '') => {
        result.tried += 1
        const path = operation.path.replace(/\{(\w+)\}/g, (_, name: keyof Things) => things[name])
        const body = operation.body === undefined ? {} : { body: BODIES[id] ?? {} }
        return platform.request(method, path + query, { key, ...body })
      }
      const mine = method === 'GET' ? kept : await makeThings(platform, OWN, url)
      const before = await audited()
      const own = await ask(mine)
      // 409: what was under way is over, or the reverse.
      if (own.status >= 300 && own.status !== 409) result.refused.push(`${said}: ${own.status} ${own.text}`)
      if (method !== 'GET' && own.status < 300) {
        result.changes += 1
        if ((await audited()) !== before + 1) result.unaudited.push(said)
      }
      const pairs: [foreign: Things, missing: Things][] = []
      if (names.includes('owner')) {
        pairs.push([theirs, { ...theirs, owner: `none-${randomBytes(4).toString('hex')}` }])
        pairs.push([
          { ...theirs, owner: theirOwnerId },
          { ...theirs, owner: missingId('own') },
        ])
      }
      for (const name of names.filter((one) => one !== 'owner')) {
        const prefix = mine[name].split('_')[0] as IdPrefix
        pairs.push([
          { ...mine, [name]: theirs[name] },
          { ...mine, [name]: missingId(prefix) },
        ])
      }
      for (const [foreign, missing] of pairs) {
        const answers = [await ask(foreign), await ask(missing)] as const
        const [one, other] = [plain(answers[0].text, foreign), plain(answers[1].text, missing)]
        if (answers[0].status !== 404 || answers[1].status !== 404 || one !== other) {
          result.found.push(`${said}: ${answers[0].status} ${one}; missing: ${answers[1].status} ${other}`)
        }
      }
      if (names.length > 0) continue
      const isTheirs = Object.values({ ...theirs, owner: theirOwnerId }).some((one) => own.text.includes(one))
      if (isTheirs) result.found.push(`${said}: lists what is another owner's`)
      for (const [there, gone] of [
        [FOREIGN, 'none'],
        [theirOwnerId, missingId('own')],
      ] as const) {
        const [one, other] = [await ask(mine, `?owner=${there}`), await ask(mine, `?owner=${gone}`)]
        const isSame = one.status === other.status && one.text.replaceAll(there, gone) === other.text
        if (!isSame) result.found.push(`${said}: ?owner=${there}: ${one.status} ${one.text}`)
      }
    }
  }
  return result
}

/** What is there may be repeated, so that what is said otherwise can be compared. */
function plain(text: string, asked: Things): string {
  return Object.values(asked).reduce((rest, id) => rest.replaceAll(id, '…'), text)
}

function missingId(prefix: IdPrefix): string {
  return encodeId(prefix, newUuid())
}

/** An endpoint with what it got. */
async function makeThings(platform: Platform, owner: string, url: string): Promise<Things> {
  const endpoints = `/v1/owners/${owner}/endpoints`
  const { id: endpoint } = await platform.make('POST', endpoints, { url, eventTypes: [EVENT_TYPE] })
  const message = await platform.make('POST', '/v1/messages', { owner, type: EVENT_TYPE, data: 1 })
  const path = `/v1/deliveries?message=${message.id}&endpoint=${endpoint}`
  let delivery = { id: '', state: 'pending' }
  const hasEnded = async () => {
    delivery = (await platform.make('GET', path)).data[0]
    return delivery.state !== 'pending'
  }
  await waitFor(hasEnded, { timeoutMs: platform.patienceMs, message: 'a delivery to end' })
  const replay = await platform.make('POST', `${endpoints}/${endpoint}/replays`, BODIES.createReplay)
  return { owner, endpoint, message: message.id, delivery: delivery.id, replay: replay.id }
}

async function uuidOf(platform: Platform, uid: string): Promise<string> {
  return decodeId('own', (await platform.make('GET', `/v1/owners/${uid}`)).id as string)!
}

async function makeToken(platform: Platform, owner: string, expiresInS: number): Promise<string> {
  return (await platform.make('POST', `/v1/owners/${owner}/tokens`, { expiresInS })).token as string
}

/** The token with another owner in it, and the signature that it had. */
function forOwner(token: string, ownerUuid: string): string {
  const [, claims = '', mac = ''] = /^pht_([^.]*)\.(.*)$/.exec(token) ?? []
  const changed = {
    ...JSON.parse(Buffer.from(claims, 'base64url').toString()),
    owner: encodeId('own', ownerUuid),
  }
  return `pht_${Buffer.from(JSON.stringify(changed)).toString('base64url')}.${mac}`
}

/** Straight into the database: what it may do is what is tried. @returns its text */
async function makeKey(
  platform: Platform,
  role: string,
  {
    isRevoked = false,
    isExpired = false,
    ownerUuid,
  }: { isRevoked?: boolean; isExpired?: boolean; ownerUuid?: string } = {},
): Promise<string> {
  const key = `phk_canarykey${randomBytes(16).toString('hex')}`
  await platform.query(
    `INSERT INTO api_keys (id, name, role, hash, owner_id, revoked_at, expires_at)
     VALUES ($1, 'abuse', $2, $3, $4, ${isRevoked ? 'now()' : 'NULL'},
       ${isExpired ? "now() - interval '1 second'" : 'NULL'})`,
    [randomUUID(), role, createHash('sha256').update(key).digest(), ownerUuid ?? null],
  )
  return key
}

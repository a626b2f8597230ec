import { newUuid } from '@posthorn/contracts'
import { createDatabase, type TestDatabase, templateDatabase } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  createEndpoint,
  createStore,
  createVault,
  type DeliveryTarget,
  findEndpointSecrets,
  loadDeliveryTargets,
  masterKeyId,
  migrate,
  missingMasterKeys,
  rewrapOwnerKeys,
  rotateSecret,
  runOf,
  type Store,
  sealPlainSecrets,
  UnreadableSecretsError,
  type Vault,
} from '../src/index.ts'
import { requireOwnerKey } from '../src/owner-keys.ts'

const FIRST = Buffer.alloc(32, 1)
const SECOND = Buffer.alloc(32, 2)
const CANARY = Buffer.from('canary-secret-of-32-bytes-at-all')

let database: TestDatabase
let store: Store
let vault: Vault
let ownerId: string

beforeEach(async () => {
  const template = await templateDatabase('store', async (url) => {
    const made = createStore(url)
    await migrate(made.pool)
    await made.close()
  })
  database = await createDatabase({ template })
  store = createStore(database.url)
  vault = createVault([FIRST])
  await store.prisma.eventType.create({ data: { name: 'a' } })
  ownerId = await addOwner()
})
afterEach(async () => {
  await store.close()
  await database.drop()
})

async function addOwner(): Promise<string> {
  const id = newUuid()
  await store.prisma.owner.create({ data: { id } })
  return id
}

async function addEndpoint(
  owner = ownerId,
  secret = CANARY,
  headers: Parameters<typeof createEndpoint>[2]['headers'] = {},
): Promise<string> {
  const input = { url: 'https://example.com/', eventTypes: ['a'], headers: headers! }
  const result = await createEndpoint({ prisma: store.prisma, vault }, owner, input, secret)
  if (result.kind !== 'saved') throw new Error(result.kind)
  return result.endpoint.id
}

async function target(endpointId: string, by = vault): Promise<DeliveryTarget> {
  return (await loadDeliveryTargets(store.pool, by, [endpointId]))[0]!
}

/** Every row of every table, as text and with bytes in hexadecimal and in base64. */
async function dump(): Promise<string> {
  const { rows: tables } = await store.pool.query<{ name: string }>(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
     WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
  )
  const texts = await Promise.all(
    tables.map(async ({ name }) =>
      JSON.stringify((await store.pool.query(`SELECT t::text FROM ${name} t`)).rows),
    ),
  )
  return texts.join('\n')
}

function expectNoTrace(dumped: string, canary: Buffer): void {
  for (const encoding of ['latin1', 'hex', 'base64'] as const) {
    expect(dumped).not.toContain(canary.toString(encoding))
  }
}

test('a dump of the tables has neither secrets nor secret headers, and a worker gets them', async () => {
  const endpointId = await addEndpoint(ownerId, CANARY, {
    'x-tenant': 'acme',
    authorization: { value: 'Bearer canary-of-a-header', secret: true },
  })
  const dumped = await dump()
  expect(dumped).toContain('acme')
  expectNoTrace(dumped, CANARY)
  expectNoTrace(dumped, Buffer.from('canary-of-a-header'))
  for (const by of [vault, createVault([FIRST]), createVault([SECOND, FIRST])]) {
    expect(await target(endpointId, by)).toMatchObject({
      secrets: [CANARY],
      headers: { 'x-tenant': 'acme', authorization: 'Bearer canary-of-a-header' },
      unreadable: null,
    })
  }
})

test('without its master key nothing is decrypted, and what is missing is told by its id', async () => {
  const endpointId = await addEndpoint(ownerId, CANARY, { 'x-a': { value: 'canary', secret: true } })
  const other = createVault([SECOND])
  const { unreadable, secrets, headers } = await target(endpointId, other)
  expect(unreadable).toMatchObject({ code: 'master_key_missing' })
  expect(unreadable!.message).toContain(masterKeyId(FIRST))
  expect({ secrets, headers }).toEqual({ secrets: [], headers: {} })
  expect(await missingMasterKeys(store.pool, other)).toEqual([masterKeyId(FIRST)])
  expect(await missingMasterKeys(store.pool, vault)).toEqual([])
})

test.each<[string, string]>([
  [
    'a byte of a secret',
    `UPDATE endpoint_secrets SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1)`,
  ],
  ['a byte of a key', `UPDATE owner_keys SET wrapped = set_byte(wrapped, 40, get_byte(wrapped, 40) # 1)`],
  [
    'a secret for that of another endpoint of the owner',
    `UPDATE endpoint_secrets s SET sealed = o.sealed FROM endpoint_secrets o, endpoints e, endpoints f
     WHERE o.endpoint_id = f.id AND s.endpoint_id = e.id AND e.owner_id = f.owner_id AND e.id <> f.id`,
  ],
  [
    'a row of a secret for that of another endpoint of the owner',
    `UPDATE endpoint_secrets s SET endpoint_id = f.id FROM endpoints e, endpoints f
     WHERE s.endpoint_id = e.id AND e.owner_id = f.owner_id AND e.id <> f.id`,
  ],
  [
    'a secret for that of another owner',
    `UPDATE endpoint_secrets s SET sealed = o.sealed FROM endpoint_secrets o, endpoints e, endpoints f
     WHERE o.endpoint_id = f.id AND s.endpoint_id = e.id AND e.owner_id <> f.owner_id`,
  ],
  [
    'the key of the owner for that of another',
    `UPDATE owner_keys k SET wrapped = o.wrapped FROM owner_keys o WHERE o.owner_id <> k.owner_id`,
  ],
  [
    'the endpoint of another owner',
    `UPDATE endpoints e SET owner_id = f.owner_id FROM endpoints f WHERE f.owner_id <> e.owner_id`,
  ],
  [
    'a secret header for that of another endpoint',
    `UPDATE endpoints e SET secret_headers = f.secret_headers FROM endpoints f
     WHERE f.owner_id = e.owner_id AND f.id <> e.id`,
  ],
  [
    'a secret header for another of the endpoint',
    `UPDATE endpoints SET secret_headers = jsonb_set(secret_headers, '{x-a}', secret_headers->'x-b')`,
  ],
])('who can write to the database cannot swap %s', async (_, statement) => {
  const headers = {
    'x-a': { value: 'one', secret: true as const },
    'x-b': { value: 'two', secret: true as const },
  }
  const endpointId = await addEndpoint(ownerId, CANARY, headers)
  await addEndpoint(ownerId, Buffer.alloc(32, 9), headers)
  await addEndpoint(await addOwner(), Buffer.alloc(32, 8), headers)
  expect((await target(endpointId)).unreadable).toBeNull()
  await store.pool.query(statement)
  const read = await target(endpointId, createVault([FIRST]))
  expect(read.unreadable).toMatchObject({ code: 'sealed_value_broken' })
  expect(read).toMatchObject({ secrets: [], headers: {} })
})

test('a key that a transaction made and rolled back is not used for what comes after it', async () => {
  await store.prisma
    .$transaction(async (transaction) => {
      await requireOwnerKey(runOf(transaction), vault, ownerId)
      throw new Error('rolled back')
    })
    .catch(() => {})
  const endpointId = await addEndpoint()
  expect((await target(endpointId, createVault([FIRST]))).secrets).toEqual([CANARY])
})

test('of many endpoints made at once for an owner without a key, all can be read', async () => {
  const ids = await Promise.all(Array.from({ length: 8 }, () => addEndpoint()))
  const read = await loadDeliveryTargets(store.pool, createVault([FIRST]), ids)
  expect(read.map(({ secrets }) => secrets)).toEqual(Array(8).fill([CANARY]))
})

test('secrets of before encryption are encrypted once, whoever is first, and leave no trace', async () => {
  const ids = await Promise.all(Array.from({ length: 3 }, () => addEndpoint(ownerId, Buffer.alloc(32, 5))))
  const expired = { expiresAt: new Date(Date.now() + 3_600_000) }
  await store.pool.query('DELETE FROM endpoint_secrets')
  for (const endpointId of ids) {
    await store.prisma.endpointSecret.create({
      data: {
        id: newUuid(),
        endpointId,
        secret: new Uint8Array(CANARY),
        ...(endpointId === ids[0] && expired),
      },
    })
  }
  // Not read as it is: a secret that was planted in plain text would sign.
  const [plain] = await loadDeliveryTargets(store.pool, vault, [ids[1]!])
  expect(plain!.unreadable).toMatchObject({ code: 'sealed_value_broken' })

  const sealed = await Promise.all(
    Array.from({ length: 3 }, () => sealPlainSecrets(store.pool, createVault([FIRST]))),
  )
  expect(sealed.toSorted()).toEqual([0, 0, 3])
  expectNoTrace(await dump(), CANARY)
  const read = await loadDeliveryTargets(store.pool, vault, ids)
  expect(read.map(({ secrets }) => secrets)).toEqual(Array(3).fill([CANARY]))
  expect(read.find(({ endpointId }) => endpointId === ids[0])!.secretsForMs).toBeGreaterThan(3_000_000)
  // A worker that could not read it looks again.
  expect(read.find(({ endpointId }) => endpointId === ids[1])!.version).not.toBe(plain!.version)
  expect(await sealPlainSecrets(store.pool, vault)).toBe(0)
})

test('the keys of all owners are wrapped anew, and the secrets stay as they are', async () => {
  const owners = await Promise.all(Array.from({ length: 5 }, addOwner))
  const ids = await Promise.all(owners.map((owner) => addEndpoint(owner)))
  const sealedBefore = await store.prisma.endpointSecret.findMany({ orderBy: { id: 'asc' } })
  const both = createVault([SECOND, FIRST])
  // Two at once share the work.
  const done = await Promise.all([rewrapOwnerKeys(store.pool, both), rewrapOwnerKeys(store.pool, both)])
  expect(done.map(({ unreadable }) => unreadable)).toEqual([0, 0])
  await rewrapOwnerKeys(store.pool, both)
  expect(await rewrapOwnerKeys(store.pool, both)).toEqual({ rewrapped: 0, unreadable: 0 })
  expect(await missingMasterKeys(store.pool, createVault([SECOND]))).toEqual([])
  expect(await missingMasterKeys(store.pool, vault)).toEqual([masterKeyId(SECOND)])
  const read = await loadDeliveryTargets(store.pool, createVault([SECOND]), ids)
  expect(read.map(({ secrets }) => secrets)).toEqual(Array(5).fill([CANARY]))
  expect(await store.prisma.endpointSecret.findMany({ orderBy: { id: 'asc' } })).toEqual(sealedBefore)
})

test('a key that cannot be unwrapped does not keep the others from being wrapped anew', async () => {
  const broken = await addEndpoint()
  await store.pool.query(`UPDATE owner_keys SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)`)
  const sound = await addEndpoint(await addOwner())
  expect(await rewrapOwnerKeys(store.pool, createVault([SECOND, FIRST]))).toEqual({
    rewrapped: 1,
    unreadable: 1,
  })
  const by = createVault([SECOND, FIRST])
  expect((await target(sound, by)).unreadable).toBeNull()
  expect((await target(broken, by)).unreadable).toMatchObject({ code: 'sealed_value_broken' })
})

test('an endpoint whose secrets are lost gets a new one by rotation', async () => {
  const endpointId = await addEndpoint()
  await store.pool.query('DELETE FROM endpoint_secrets')
  await store.pool.query('DELETE FROM owner_keys')
  expect((await target(endpointId)).unreadable).toMatchObject({ code: 'no_secret' })
  const fresh = createVault([SECOND])
  const access = { prisma: store.prisma, vault: fresh }
  await rotateSecret(access, { ownerId, id: endpointId }, Buffer.alloc(32, 7), 0)
  expect(await target(endpointId, fresh)).toMatchObject({ secrets: [Buffer.alloc(32, 7)], unreadable: null })
})

test('a secret that cannot be read is an error without it', async () => {
  const endpointId = await addEndpoint()
  const reading = findEndpointSecrets(store.prisma, createVault([SECOND]), { ownerId, endpointId })
  await expect(reading).rejects.toBeInstanceOf(UnreadableSecretsError)
})

import { randomUUID } from 'node:crypto'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createStore, migrate, type Store } from '@posthorn/store'
import { createDatabase } from '@posthorn/testkit'
import { type TestContext, test } from 'vitest'
import { makeDataDir, spawnPosthorn } from './spawn-posthorn.ts'

const READY = /^Posthorn is ready: {2}(\S+)$/
const OLD_KEY = Buffer.alloc(32, 1).toString('base64')
const NEW_KEY = Buffer.alloc(32, 2).toString('hex')
const SECRET = Buffer.from('canary-secret-of-32-bytes-at-all')

test.concurrent('start makes a master key that only its owner can read, and goes on with it', async (context) => {
  const { expect } = context
  const env = { POSTHORN_DATA_DIR: await makeDataDir(context), POSTHORN_PORT: '0' }
  const path = join(env.POSTHORN_DATA_DIR, 'master-key')
  const first = spawnPosthorn(context, ['start'], env)
  const url = (await first.waitForLine(READY))[1]!
  const apiKey = (await first.waitForLine(/^API key: +(\S+)$/))[1]!
  const masterKey = (await readFile(path, 'utf8')).trim()
  expect(masterKey).toMatch(/^[A-Za-z0-9+/]{43}=$/)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(`${first.stdout()}${first.stderr()}`).not.toContain(masterKey)
  const { secret } = await register(url, apiKey)
  first.kill('SIGTERM')
  await first.exited

  const second = spawnPosthorn(context, ['start'], env)
  const again = (await second.waitForLine(READY))[1]!
  expect((await readFile(path, 'utf8')).trim()).toBe(masterKey)
  expect(await secretOf(again, apiKey)).toBe(secret)
  second.kill('SIGTERM')
  await second.exited

  // Another one, as after a restored backup of the database alone, is not gone on with.
  await rm(path)
  const third = spawnPosthorn(context, ['start'], env)
  expect(await third.exited).toEqual({ code: 1, signal: null })
  expect(third.stderr()).toMatch(/^posthorn: POSTHORN_MASTER_KEY lacks a key that is in use: .*\n$/)
  await writeFile(path, 'nothing of use')
  const fourth = spawnPosthorn(context, ['start'], env)
  expect(await fourth.exited).toEqual({ code: 1, signal: null })
  expect(fourth.stderr()).toContain(`posthorn: ${path} holds no master key. Restore it`)
  expect(fourth.stderr()).not.toContain('nothing of use')
  // And it was the key that was missing.
  await writeFile(path, masterKey)
  const fifth = spawnPosthorn(context, ['start'], env)
  expect(await secretOf((await fifth.waitForLine(READY))[1]!, apiKey)).toBe(secret)
})

test.concurrent('master-key create prints a key that can be used', async (context) => {
  const { expect } = context
  const made = await Promise.all(
    [1, 2].map(async () => {
      const create = spawnPosthorn(context, ['master-key', 'create'], {})
      expect(await create.exited).toEqual({ code: 0, signal: null })
      return create.stdout()
    }),
  )
  for (const key of made) expect(key).toMatch(/^[A-Za-z0-9+/]{43}=\n$/)
  expect(new Set(made).size).toBe(2)
})

test.concurrent('a process without the master key in use does not start, and says which is missing', async (context) => {
  const { expect } = context
  const { databaseUrl } = await makeDatabase(context)
  const env = { DATABASE_URL: databaseUrl, POSTHORN_PORT: '0' }
  const migrated = spawnPosthorn(context, ['migrate'], { ...env, POSTHORN_MASTER_KEY: OLD_KEY })
  expect(await migrated.exited).toEqual({ code: 0, signal: null })
  for (const command of [['api'], ['worker'], ['start'], ['migrate'], ['master-key', 'rotate']]) {
    const refused = spawnPosthorn(context, command, { ...env, POSTHORN_MASTER_KEY: NEW_KEY })
    expect(await refused.exited, command.join(' ')).toEqual({ code: 1, signal: null })
    expect(refused.stderr()).toMatch(
      /^posthorn: POSTHORN_MASTER_KEY lacks a key that is in use: .*[0-9a-f]{16}.*\n$/,
    )
    expect(`${refused.stdout()}${refused.stderr()}`).not.toContain(NEW_KEY)
  }
})

test.concurrent('migrate encrypts what was stored before, and master-key rotate replaces the key', async (context) => {
  const { expect } = context
  const { databaseUrl, store, endpointId } = await makeDatabase(context)
  const env = { DATABASE_URL: databaseUrl, POSTHORN_PORT: '0' }
  expect(await secretRows(store)).toEqual([{ secret: SECRET, sealed: null }])
  const run = async (args: string[], masterKey: string) => {
    const ran = spawnPosthorn(context, args, { ...env, POSTHORN_MASTER_KEY: masterKey })
    expect(await ran.exited, ran.stderr()).toEqual({ code: 0, signal: null })
    return ran.stdout()
  }
  await run(['migrate'], OLD_KEY)
  expect(await secretRows(store)).toEqual([{ secret: null, sealed: expect.any(Buffer) }])

  const rotate = () => run(['master-key', 'rotate'], `${NEW_KEY},${OLD_KEY}`)
  expect(await rotate()).toMatch(
    /^Owners whose key is encrypted anew: 1\. All are under the master key [0-9a-f]{16}\.\n$/,
  )
  expect(await rotate()).toMatch(/^Owners whose key is encrypted anew: 0\. /)

  const keys = await run(['keys', 'create', '--name', 'x'], NEW_KEY)
  const api = spawnPosthorn(context, ['api'], { ...env, POSTHORN_MASTER_KEY: NEW_KEY })
  const url = (await api.waitForLine(/"url":"([^"]+)".*api\.ready/))[1]!
  expect(await secretOf(url, keys.trim())).toBe(`whsec_${SECRET.toString('base64')}`)
  expect(endpointId).toBeDefined()
})

test.concurrent('a database that was not brought up to date stops api and worker with what to do', async (context) => {
  const { expect } = context
  const { url, drop } = await createDatabase()
  context.onTestFinished(drop)
  for (const command of ['api', 'worker']) {
    const refused = spawnPosthorn(context, [command], { DATABASE_URL: url, POSTHORN_MASTER_KEY: OLD_KEY })
    expect(await refused.exited).toEqual({ code: 1, signal: null })
    expect(refused.stderr()).toMatch(/^posthorn: .*posthorn migrate.*\n$/)
  }
})

/** With a secret of the time before encryption. */
async function makeDatabase({ onTestFinished }: Pick<TestContext, 'onTestFinished'>) {
  const { url: databaseUrl, drop } = await createDatabase()
  onTestFinished(drop)
  const store = createStore(databaseUrl)
  onTestFinished(() => store.close())
  await migrate(store.pool)
  const [ownerId, endpointId] = [randomUUID(), randomUUID()]
  await store.prisma.owner.create({ data: { id: ownerId, uid: 'acme' } })
  await store.prisma.endpoint.create({
    data: {
      id: endpointId,
      ownerId,
      uid: 'books',
      url: 'https://example.com/',
      secrets: { create: { id: randomUUID(), secret: new Uint8Array(SECRET) } },
    },
  })
  return { databaseUrl, store, endpointId }
}

async function secretRows({ pool }: Store) {
  return (await pool.query('SELECT secret, sealed FROM endpoint_secrets')).rows
}

async function register(url: string, apiKey: string): Promise<{ secret: string }> {
  await call(url, apiKey, '/v1/event-types', { name: 'a' })
  await call(url, apiKey, '/v1/owners', { uid: 'acme' })
  const endpoint = { url: 'https://example.com/', eventTypes: ['a'], uid: 'books' }
  return (await call(url, apiKey, '/v1/owners/acme/endpoints', endpoint)) as { secret: string }
}

async function secretOf(url: string, apiKey: string): Promise<string> {
  return ((await call(url, apiKey, '/v1/owners/acme/endpoints/books/secret')) as { secret: string }).secret
}

async function call(url: string, apiKey: string, path: string, body?: object): Promise<unknown> {
  const answer = await fetch(`${url}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  if (!answer.ok) throw new Error(await answer.text())
  return await answer.json()
}

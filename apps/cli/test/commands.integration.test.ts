import { createPool, waitForDatabase } from '@posthorn/store'
import { createDatabase, freePort, startProxy, TEST_MASTER_KEY } from '@posthorn/testkit'
import { describe, type TestContext, test } from 'vitest'

import { makeDataDir, spawnPosthorn } from './spawn-posthorn.ts'

const PASSWORD = 'hunter2-of-the-database'

describe('what the user can mend is one line and exit code 1', () => {
  test.concurrent.for<[string[], Record<string, string>, RegExp]>([
    [['start'], { POSTHORN_PORT: '70000' }, /^posthorn: POSTHORN_PORT .*65535/],
    [['start'], { POSTHORN_PORTS: '1' }, /^posthorn: POSTHORN_PORTS .*did you mean POSTHORN_PORT\?/],
    [['start'], { DATABASE_URL: `mysql://a:${PASSWORD}@localhost/` }, /^posthorn: DATABASE_URL /],
    [['start'], { REDIS_URL: 'redis://127.0.0.1:1' }, /^posthorn: REDIS_URL .*DATABASE_URL/],
    [['demo'], { POSTHORN_EGRESS_ALLOW: 'everything' }, /^posthorn: POSTHORN_EGRESS_ALLOW /],
    [['worker'], { POSTHORN_LEASE: '5s' }, /^posthorn: POSTHORN_LEASE .*POSTHORN_ATTEMPT_TIMEOUT/],
    [['api'], {}, /^posthorn: DATABASE_URL is not set/],
    [['worker'], {}, /^posthorn: DATABASE_URL is not set/],
    [['migrate'], {}, /^posthorn: DATABASE_URL is not set/],
    ...['api', 'worker', 'start', 'migrate'].map((command): [string[], Record<string, string>, RegExp] => [
      [command],
      { DATABASE_URL: `postgres://a:${PASSWORD}@127.0.0.1:1/a` },
      /^posthorn: POSTHORN_MASTER_KEY is not set.*openssl rand -base64 32/,
    ]),
    [
      ['api'],
      { POSTHORN_MASTER_KEY: PASSWORD },
      /^posthorn: POSTHORN_MASTER_KEY cannot be used: it must be 32 bytes/,
    ],
  ])('%j with %j', async ([args, env, line], context) => {
    const { expect } = context
    const posthorn = spawnPosthorn(context, args, env)
    expect(await posthorn.exited).toEqual({ code: 1, signal: null })
    expect(posthorn.stdout()).toBe('')
    expect(posthorn.stderr()).toMatch(line)
    expect(posthorn.stderr().trimEnd().split('\n')).toHaveLength(1)
    expect(posthorn.stderr()).not.toContain(PASSWORD)
  })

  test.concurrent.for<[string, (url: URL) => void]>([
    ['a wrong password', (url) => Object.assign(url, { password: PASSWORD })],
    ['a user that does not exist', (url) => Object.assign(url, { username: 'nobody', password: PASSWORD })],
    ['a database that does not exist', (url) => Object.assign(url, { pathname: '/no_such_database' })],
  ])('%s in DATABASE_URL, at once', async ([, change], context) => {
    const { expect } = context
    const url = new URL(await makeDatabase(context))
    change(url)
    const posthorn = spawnPosthorn(context, ['migrate'], {
      DATABASE_URL: url.href,
      POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
    })
    expect(await posthorn.exited).toEqual({ code: 1, signal: null })
    expect(posthorn.stderr()).toMatch(/^posthorn: .*DATABASE_URL.*\n$/)
    expect(`${posthorn.stdout()}${posthorn.stderr()}`).not.toContain(url.password)
    expect(posthorn.stdout()).not.toContain('Waiting')
  })
})

test.concurrent('a database that is not there at start is waited for, and used when it comes', async (context) => {
  const { expect } = context
  const proxy = await startProxy(await makeDatabase(context))
  context.onTestFinished(() => proxy.close())
  await proxy.cut()
  const posthorn = spawnPosthorn(context, ['migrate'], {
    DATABASE_URL: proxy.url,
    POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
  })
  await posthorn.waitForLine(/^Waiting up to \d+ s for the database \(.*ECONNREFUSED.*\)/)
  await proxy.restore()
  expect(await posthorn.exited).toEqual({ code: 0, signal: null })
  expect(posthorn.stdout()).toContain('Applied: ')
  expect(posthorn.stdout()).not.toContain(new URL(proxy.url).password)
})

test.concurrent('a database that does not come is given up with what to do', async ({ expect }) => {
  const pool = createPool(`postgres://posthorn:${PASSWORD}@127.0.0.1:${await freePort()}/posthorn`)
  const waits: string[] = []
  const error = await waitForDatabase(pool, {
    timeoutMs: 600,
    onWait: (reason) => void waits.push(reason),
  }).catch((reason: unknown) => reason)
  await pool.end()
  expect(waits).toEqual([expect.stringContaining('ECONNREFUSED')])
  expect(error).toMatchObject({
    code: 'database_unreachable',
    message: expect.stringContaining('DATABASE_URL'),
  })
  expect(String(error)).not.toContain(PASSWORD)
})

test.concurrent('migrate makes the database once, and keys create makes a key that the API takes', async (context) => {
  const { expect } = context
  const env = {
    DATABASE_URL: await makeDatabase(context),
    POSTHORN_PORT: '0',
    POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
  }
  const first = spawnPosthorn(context, ['migrate'], env)
  expect(await first.exited).toEqual({ code: 0, signal: null })
  expect(first.stdout()).toMatch(/^Applied: \S+_init/m)
  const second = spawnPosthorn(context, ['migrate'], env)
  expect(await second.exited).toEqual({ code: 0, signal: null })
  expect(second.stdout()).toBe('The database is up to date.\n')

  const keys = spawnPosthorn(context, ['keys', 'create', '--name', 'x'], env)
  expect(await keys.exited).toEqual({ code: 0, signal: null })
  expect(keys.stdout()).toMatch(/^phk_\S{40,}\n$/)

  const api = spawnPosthorn(context, ['api'], env)
  const url = (await api.waitForLine(/"url":"([^"]+)".*api\.ready/))[1]!
  const statusWith = async (key: string) =>
    (await fetch(`${url}/v1/owners`, { headers: { authorization: `Bearer ${key}` } })).status
  const key = keys.stdout().trim()
  expect(await statusWith(key)).toBe(200)
  expect(await statusWith(`${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`)).toBe(401)
  api.kill('SIGTERM')
  expect(await api.exited).toEqual({ code: 0, signal: null })
  expect(api.stdout()).not.toContain(key)
})

test.concurrent('keys are made with a role, an owner and an end, listed without their texts, and revoked', async (context) => {
  const { expect } = context
  const databaseUrl = await makeDatabase(context)
  const run = async (...args: string[]) => {
    const posthorn = spawnPosthorn(context, ['keys', ...args], { DATABASE_URL: databaseUrl })
    const { code } = await posthorn.exited
    return { code, stdout: posthorn.stdout(), stderr: posthorn.stderr() }
  }
  const made = await run('create', '--name', 'shop', '--role', 'emit', '--expires', '90d')
  expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^phk_\S{43}\n$/) })
  const listed = await run('list')
  expect(listed.stdout).toMatch(/^key_\w{26} {2}emit {2}expires: \d{4}-\S+Z {2}last used: never {2}shop\n$/)
  const id = listed.stdout.slice(0, 30)
  expect(await run('revoke', id)).toMatchObject({ code: 0, stdout: `${id} is revoked.\n` })
  expect((await run('list')).stdout).toMatch(/ {2}revoked: \d{4}-\S+Z {2}/)
  expect(await run('end-tokens')).toMatchObject({ code: 0, stdout: 'All owner tokens have ended.\n' })

  for (const [args, line] of [
    [['create', '--name', 'x', '--role', 'owner'], /--owner must be given with --role owner/],
    [['create', '--name', 'x', '--owner', 'acme'], /--owner must be given with --role owner/],
    [['create', '--name', 'x', '--role', 'owner', '--owner', 'acme'], /There is no owner acme\./],
    [['create', '--name', 'x', '--expires', 'soon'], /--expires is "soon": it must be a time in the future/],
    [['create', '--name', 'x', '--role', 'root'], /Allowed choices are admin, emit, read, owner/],
    [['revoke', 'x'], /x is no id of a key/],
    [['revoke', 'key_00000000000000000000000000'], /There is no API key key_0/],
  ] as const) {
    const refused = await run(...args)
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(line) })
  }

  const pool = createPool(databaseUrl)
  const { rows } = await pool.query('SELECT * FROM audit_log ORDER BY id')
  await pool.end()
  expect(rows).toMatchObject([
    { actor: 'cli', route: 'keys create', resource_id: id, members: ['name', 'role', 'expiresAt'] },
    { actor: 'cli', route: 'keys revoke', resource_id: id, members: [] },
    { actor: 'cli', route: 'keys end-tokens', resource: 'owner-tokens', resource_id: null },
  ])
  expect(JSON.stringify(rows)).not.toContain(made.stdout.trim())
})

test.concurrent('demo --once shows delivery, signature, retries and log, and ends with 0', async (context) => {
  const { expect } = context
  const env = { POSTHORN_DATA_DIR: await makeDataDir(context), POSTHORN_PORT: '0' }
  const demo = spawnPosthorn(context, ['demo', '--once'], env)
  expect(await demo.exited).toEqual({ code: 0, signal: null })
  expect(demo.stderr()).toBe('')
  const said = demo.stdout()
  const message = /^emitted +(msg_\w+)/m.exec(said)?.[1]
  expect(said).toContain('POST /healthy\n')
  expect(said).toContain(`webhook-id: ${message}\n`)
  expect(said).toMatch(/^webhook-signature: v1,\S+$/m)
  expect(said).toContain('"order_num":"20261121-0007"')
  expect(said).toContain('The signature is verified')
  expect(said).toMatch(/^attempt 1 +500.*\nattempt 2 +500.*\nattempt 3 +200 +delivered$/m)
  expect(said).toMatch(/^dlv_\w+ +pay_info\.paid +delivered +attempts: 1$/m)
  expect(said).toMatch(/^dlv_\w+ +pay_info\.paid +delivered +attempts: 3$/m)
  expect(said).toContain('Everything was seen to work.')
})

test.concurrent('a demo that cannot run ends with 1 and the reason', async (context) => {
  const { expect } = context
  const demo = spawnPosthorn(context, ['demo', '--once'], {
    POSTHORN_DATA_DIR: await makeDataDir(context),
    // No address of this machine: RFC 5737, for documentation.
    POSTHORN_HOST: '192.0.2.1',
  })
  expect(await demo.exited).toEqual({ code: 1, signal: null })
  expect(demo.stderr()).toMatch(/^The demo failed: .*192\.0\.2\.1.*\n$/)
  expect(demo.stdout()).not.toContain('Everything was seen to work.')
})

test.concurrent('more workers than the database has connections for are refused with what to do', async (context) => {
  const { expect } = context
  const env = { DATABASE_URL: await makeDatabase(context), POSTHORN_MASTER_KEY: TEST_MASTER_KEY }
  await spawnPosthorn(context, ['migrate'], env).exited
  const worker = spawnPosthorn(context, ['worker'], { ...env, POSTHORN_WORKERS: '64' })
  expect(await worker.exited).toEqual({ code: 1, signal: null })
  expect(worker.stderr()).toMatch(
    /^posthorn: POSTHORN_WORKERS is 64: .*max_connections.*POSTHORN_WORKERS to \d+\.\n$/,
  )
})

async function makeDatabase({ onTestFinished }: Pick<TestContext, 'onTestFinished'>): Promise<string> {
  const { url, drop } = await createDatabase()
  onTestFinished(drop)
  return url
}

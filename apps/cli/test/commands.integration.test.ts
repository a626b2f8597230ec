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

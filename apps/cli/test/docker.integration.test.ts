import {
  createDatabase,
  freePort,
  type NodeProcess,
  spawnNode,
  TEST_MASTER_KEY,
  type TestDatabase,
} from '@posthorn/testkit'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { type ComposeService, ROOT, readComposeFile, resolveEnvironment } from './compose-file.ts'

// There is no Docker engine here: the containers' commands run as written, in the folder that the image
// copies, with the servers of the test run in place of the containers'.

const { services } = readComposeFile()
const API_KEY = 'k'.repeat(32)

let database: TestDatabase
let processes: NodeProcess[] = []

beforeEach(async () => {
  database = await createDatabase()
})

afterEach(async () => {
  await Promise.all(processes.map((process) => process.stop()))
  processes = []
  await database.drop()
})

test.each(['migrate', 'api', 'worker'])(
  '%s says what is missing when there is no DATABASE_URL',
  async (name) => {
    const started = startService(services[name]!, {})
    expect(await started.exited).toEqual({ code: 1, signal: null })
    expect(started.stderr()).toMatch(/^posthorn: DATABASE_URL is not set\. .*\n$/)
  },
)

test('migrate ends, api gets healthy by its own check, worker gets ready, and both stop on SIGTERM', async () => {
  const port = await freePort()
  const env = {
    ...resolveEnvironment(services.api!, {
      POSTHORN_API_KEY: API_KEY,
      POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
      POSTGRES_PASSWORD: 'unused',
    }),
    DATABASE_URL: database.url,
    // Without a Redis in the run the queue is in the database: the commands are the same.
    REDIS_URL: inject('redisUrl'),
    POSTHORN_HOST: '127.0.0.1',
    POSTHORN_PORT: String(port),
  }

  const migrate = startService(services.migrate!, env)
  expect(await migrate.exited).toEqual({ code: 0, signal: null })
  expect(migrate.stdout()).toContain('Applied: ')

  const api = startService(services.api!, env)
  const worker = startService(services.worker!, env)
  await api.waitForLine(/api\.ready/)
  await worker.waitForLine(/worker\.ready/)

  const check = services.api!.healthcheck!.test
  expect(check.slice(0, 3)).toEqual(['CMD', 'node', '-e'])
  const checkOf = (checkedPort: number) =>
    startProcess('-e', [check[3]!.replace('127.0.0.1:7676', `127.0.0.1:${checkedPort}`)], {})
  expect(await checkOf(port).exited).toEqual({ code: 0, signal: null })
  expect(await checkOf(await freePort()).exited).toEqual({ code: 1, signal: null })

  const answer = await fetch(`http://127.0.0.1:${port}/v1/event-types`, {
    headers: { authorization: `Bearer ${API_KEY}` },
  })
  expect(answer.status).toBe(200)

  api.kill('SIGTERM')
  worker.kill('SIGTERM')
  expect(await api.exited).toEqual({ code: 0, signal: null })
  expect(await worker.exited).toEqual({ code: 0, signal: null })
})

function startService(service: ComposeService, env: Record<string, string>): NodeProcess {
  const [node, script, ...args] = service.command!
  expect(node).toBe('node')
  return startProcess(script!, args, env)
}

function startProcess(script: string, args: string[], env: Record<string, string>): NodeProcess {
  const started = spawnNode(script, args, {
    cwd: ROOT,
    env: { DATABASE_URL: undefined, REDIS_URL: undefined, ...env },
  })
  processes.push(started)
  return started
}

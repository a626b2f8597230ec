import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { freePort } from '@posthorn/testkit'
import { test } from 'vitest'
import { makeDataDir, spawnPosthorn } from './spawn-posthorn.ts'

const READY = /^Posthorn is ready: {2}(\S+)$/

test.concurrent('start shows what is needed to use it, once; Ctrl-C leaves nothing behind', async (context) => {
  const { expect } = context
  const env = { POSTHORN_DATA_DIR: await makeDataDir(context), POSTHORN_PORT: '0' }
  const first = spawnPosthorn(context, ['start'], env)
  const url = (await first.waitForLine(READY))[1]!
  const key = (await first.waitForLine(/^API key: +(\S+)$/))[1]!
  const curl = (await first.waitForLine(/^curl .*$/))[0]
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  // Pasted as it stands.
  expect(await runInShell(`${curl} -w '\\n%{http_code}'`)).toMatch(/"pay_info\.paid".*\n201$/s)
  expect((await fetch(`${url}/v1/owners`, authorized(key))).status).toBe(200)

  const serverPid = Number((await first.waitForLine(/"serverPid":(\d+)/))[1])
  expect(isRunning(serverPid)).toBe(true)
  first.signalGroup('SIGINT')
  expect(await first.exited).toEqual({ code: 0, signal: null })
  expect(isRunning(serverPid)).toBe(false)
  // Nor anything else that it started: its process group is gone.
  expect(isRunning(-first.pid)).toBe(false)

  const second = spawnPosthorn(context, ['start'], env)
  const urlAgain = (await second.waitForLine(READY))[1]!
  const keyPath = (await second.waitForLine(/^The API key is kept in (.+)$/))[1]!
  const curlAgain = (await second.waitForLine(/^curl .*$/))[0]
  expect(second.stdout()).not.toContain(key)
  expect((await readFile(keyPath, 'utf8')).trim()).toBe(key)
  // The data are still there: the event type exists by now.
  expect(await runInShell(`${curlAgain} -w '\\n%{http_code}'`)).toMatch(/\n409$/)
  expect((await fetch(`${urlAgain}/v1/owners`, authorized(key))).status).toBe(200)
  expect(`${first.stdout()}${first.stderr()}${second.stderr()}`).not.toMatch(/postgres(ql)?:\/\/\w+:[^[]/)
})

test.concurrent('a second start on the same data and port says so in a line, and leaves the first alone', async (context) => {
  const { expect } = context
  const port = String(await freePort())
  const env = { POSTHORN_DATA_DIR: await makeDataDir(context), POSTHORN_PORT: port }
  const first = spawnPosthorn(context, ['start'], env)
  const url = (await first.waitForLine(READY))[1]!
  const key = (await first.waitForLine(/^API key: +(\S+)$/))[1]!
  const second = spawnPosthorn(context, ['start'], env)
  expect(await second.exited).toEqual({ code: 1, signal: null })
  expect(second.stderr()).toMatch(/^posthorn: .*\n$/)
  expect(second.stderr()).toContain(port)
  expect(second.stdout()).not.toMatch(READY)
  expect((await fetch(`${url}/v1/owners`, authorized(key))).status).toBe(200)
  expect(isRunning(first.pid)).toBe(true)
})

test.concurrent('a database that is killed ends start with the reason, and the next start recovers', async (context) => {
  const { expect } = context
  const env = { POSTHORN_DATA_DIR: await makeDataDir(context), POSTHORN_PORT: '0' }
  const first = spawnPosthorn(context, ['start'], env)
  await first.waitForLine(READY)
  process.kill(Number((await first.waitForLine(/"serverPid":(\d+)/))[1]), 'SIGKILL')
  await first.waitForLine(/^PostgreSQL was ended from outside\. .*/)
  expect(await first.exited).toEqual({ code: 1, signal: null })

  const second = spawnPosthorn(context, ['start'], env)
  const url = (await second.waitForLine(READY))[1]!
  expect((await fetch(`${url}/readyz`)).status).toBe(200)
})

test.concurrent('kill -9 of start takes its database along, and the next start goes on', async (context) => {
  const { expect } = context
  const env = { POSTHORN_DATA_DIR: await makeDataDir(context), POSTHORN_PORT: '0' }
  const first = spawnPosthorn(context, ['start'], env)
  const url = (await first.waitForLine(READY))[1]!
  const key = (await first.waitForLine(/^API key: +(\S+)$/))[1]!
  const made = await fetch(`${url}/v1/owners`, authorized(key, { uid: 'acme' }))
  expect(made.status).toBe(201)
  first.kill('SIGKILL')
  await first.exited
  const second = spawnPosthorn(context, ['start'], env)
  const urlAgain = (await second.waitForLine(READY))[1]!
  expect((await fetch(`${urlAgain}/v1/owners/acme`, authorized(key))).status).toBe(200)
})

function authorized(key: string, body?: object): RequestInit {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  return body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) }
}

async function runInShell(command: string): Promise<string> {
  const { stdout } = await promisify(execFile)('bash', ['-c', command])
  return stdout
}

/** A negative pid names a process group. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { Redis } from 'ioredis'
import { endWithParent } from './end-with-parent.ts'
import { freePort } from './free-port.ts'
import { waitFor } from './wait-for.ts'

export type TestRedis = {
  url: string
  port: number
  /** Of the server that runs now. */
  readonly pid: number | undefined
  /** Ends it with SIGKILL, as a crash would; restart() brings it back with what was on disk. */
  kill(): Promise<void>
  /** The same port and the same files. `settings` are redis.conf directives, from now on. */
  restart(settings?: Readonly<Record<string, string>>): Promise<void>
  /** Ends it and removes its files. */
  stop(): Promise<void>
}

const START_MS = 10_000

/**
 * A Redis server of its own, for tests that FLUSHALL or kill it. It has an append-only file written through
 * at each command and never evicts, as Posthorn asks of a real one. `settings` are redis.conf directives.
 */
export async function startRedis(
  options: { settings?: Readonly<Record<string, string>> } = {},
): Promise<TestRedis> {
  const executable = findRedisServer()
  if (executable === undefined) throw new Error('startRedis() needs redis-server on PATH')
  const dir = await mkdtemp(join(tmpdir(), 'posthorn-redis-'))
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  let settings: Record<string, string> = {
    ...{ port: String(port), bind: '127.0.0.1', dir, save: '', daemonize: 'no' },
    ...{ appendonly: 'yes', appendfsync: 'always', 'maxmemory-policy': 'noeviction' },
    ...options.settings,
  }

  let child: ChildProcess | undefined
  let callOffGuard = () => {}

  async function launch(): Promise<void> {
    let output = ''
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
    const launched = spawn(executable as string, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    child = launched
    for (const stream of [launched.stdout, launched.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-4096)
      })
    }
    await new Promise((resolve, reject) => launched.once('spawn', resolve).once('error', reject))
    callOffGuard = endWithParent(launched.pid as number, 'KILL', dir)
    await waitFor(() => answersPing(url), {
      timeoutMs: START_MS,
      message: () => `redis-server did not answer on port ${port}. It said:\n${output}`,
      failEarly: () => (launched.exitCode === null ? undefined : `redis-server ended. It said:\n${output}`),
    })
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const ending = child
    child = undefined
    if (ending !== undefined && ending.exitCode === null && ending.signalCode === null) {
      const exited = new Promise((resolve) => ending.once('exit', resolve))
      ending.kill(signal)
      await exited
    }
    callOffGuard()
  }

  try {
    await launch()
  } catch (error) {
    await end('SIGKILL')
    await rm(dir, { recursive: true, force: true })
    throw error
  }
  return {
    url,
    port,
    get pid() {
      return child?.pid
    },
    kill: () => end('SIGKILL'),
    async restart(more = {}) {
      settings = { ...settings, ...more }
      await end('SIGTERM')
      await launch()
    },
    async stop() {
      await end('SIGKILL')
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** The path of redis-server, or undefined when PATH has none. */
export function findRedisServer(): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((dir) => join(dir, 'redis-server'))
    .find((path) => existsSync(path))
}

export async function answersPing(url: string): Promise<boolean> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 2_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.ping()) === 'PONG'
  } catch {
    return false
  } finally {
    client.disconnect()
  }
}

import { spawn } from 'node:child_process'
import { endWithParent } from './end-with-parent.ts'

export type SpawnNodeOptions = {
  /** Added to this process's environment; undefined takes a variable away. */
  env?: Record<string, string | undefined>
  cwd?: string
  /** As root: the user to run as. */
  uid?: number
  gid?: number
  /** In a process group of its own, as a shell gives each job: signalGroup() is then Ctrl-C. */
  ownGroup?: boolean
}

export type NodeProcess = {
  pid: number
  stdout(): string
  stderr(): string
  /** Resolves with the match as soon as a whole line of stdout or stderr, past or to come, matches. */
  waitForLine(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>
  kill(signal?: NodeJS.Signals): void
  /** Signals the whole group, as a terminal does at Ctrl-C. Needs ownGroup. */
  signalGroup(signal: NodeJS.Signals): void
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** SIGTERM, and SIGKILL if it is still there 10 s later. For afterEach. */
  stop(): Promise<void>
}

const STOP_MS = 10_000

/** Runs a script in a real Node process, as this one's Node; killed at the latest when this process ends. */
export function spawnNode(script: string, args: string[] = [], options: SpawnNodeOptions = {}): NodeProcess {
  const { env, ownGroup = false, ...identity } = options
  const child = spawn(process.execPath, [script, ...args], {
    ...identity,
    env: { ...process.env, ...env },
    detached: ownGroup,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  const listeners = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8')
    child[name].on('data', (chunk: string) => {
      output[name] += chunk
      for (const listener of listeners) listener()
    })
  }

  const callOffGuard = child.pid === undefined ? () => {} : endWithParent(child.pid, 'KILL')
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      callOffGuard()
      resolve({ code, signal })
      for (const listener of listeners) listener()
    })
  })
  exited.catch(() => {}) // whoever awaits it hears of it; nobody need

  const said = () => `stdout:\n${output.stdout}\nstderr:\n${output.stderr}`

  return {
    pid: child.pid ?? 0,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    waitForLine(pattern, timeoutMs = 60_000) {
      return new Promise((resolve, reject) => {
        const fail = (reason: string) => {
          listeners.delete(look)
          clearTimeout(timer)
          reject(new Error(`${script} ${reason} a line like ${pattern}. ${said()}`))
        }
        const look = () => {
          for (const text of [output.stdout, output.stderr]) {
            const ended = child.exitCode !== null || child.signalCode !== null
            const lines = text.split('\n')
            if (!ended) lines.pop() // not a whole line yet
            for (const line of lines) {
              const match = new RegExp(pattern.source, pattern.flags.replace('g', '')).exec(line)
              if (match === null) continue
              listeners.delete(look)
              clearTimeout(timer)
              resolve(match)
              return
            }
          }
        }
        const timer = setTimeout(() => fail(`did not print within ${timeoutMs} ms`), timeoutMs)
        listeners.add(look)
        exited.then(
          () => {
            look()
            if (listeners.has(look)) fail('ended without')
          },
          () => fail('could not be started to print'),
        )
        look()
      })
    },
    kill(signal = 'SIGTERM') {
      child.kill(signal)
    },
    signalGroup(signal) {
      if (!ownGroup || child.pid === undefined) throw new Error('signalGroup() needs ownGroup: true')
      process.kill(-child.pid, signal)
    },
    exited,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
      await exited
      clearTimeout(timer)
    },
  }
}

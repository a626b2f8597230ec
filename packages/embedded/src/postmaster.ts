import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'
import { asPrivilegeError, runAs, serverEnvironment, spawnIdentity } from './run-as.ts'
import { clusterName, isPostmaster, serverProcesses } from './server-processes.ts'
import type { ServerUser } from './server-user.ts'

const POLL_MS = 20
const FAST_SHUTDOWN_MS = 60_000
const IMMEDIATE_SHUTDOWN_MS = 10_000
const LEFTOVER_MS = 10_000

/** A running server: our own child, or an orphan that a killed program left behind. */
export type Postmaster = {
  pid: number
  isRunning(): boolean
  /** Resolves when it has ended; never, for an orphan. */
  exited: Promise<void>
}

export type PidFile = { pid: number; port: number }

/** What the server says of itself in postmaster.pid; undefined when there is none or it is half written. */
export function readPidFile(clusterDir: string): PidFile | undefined {
  let lines: string[]
  try {
    lines = readFileSync(join(clusterDir, 'postmaster.pid'), 'utf8').split('\n')
  } catch {
    return undefined
  }
  const pid = Number(lines[0])
  const port = Number(lines[3])
  return Number.isInteger(pid) && pid > 0 && Number.isInteger(port) && port > 0 ? { pid, port } : undefined
}

export function spawnPostmaster(options: {
  nativeDir: string
  clusterDir: string
  port: number
  settings: Readonly<Record<string, string>>
  user: ServerUser | undefined
  startLogPath: string
}): Postmaster {
  const { nativeDir, clusterDir, port, settings, user, startLogPath } = options
  const args = ['-D', clusterDir, '-p', String(port), '-c', `cluster_name=${clusterName(clusterDir)}`]
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`)

  // Not truncated in place: in a directory of another user the name could be a link to somewhere else.
  rmSync(startLogPath, { force: true })
  const log = openSync(startLogPath, 'wx', 0o600)
  let child: ChildProcess
  try {
    child = spawn(join(nativeDir, 'bin', 'postgres'), args, {
      cwd: clusterDir,
      env: serverEnvironment(),
      stdio: ['ignore', log, log],
      // Its own process group: Ctrl-C in a terminal reaches the program only, which then drains and stops us.
      detached: true,
      windowsHide: true,
      ...spawnIdentity(user),
    })
  } catch (error) {
    throw asPrivilegeError(error, user)
  } finally {
    closeSync(log)
  }
  child.unref()

  let running = child.pid !== undefined
  const exited = new Promise<void>((resolve) => {
    const end = () => {
      running = false
      resolve()
    }
    child.once('error', end)
    child.once('exit', end)
  })
  return { pid: child.pid ?? 0, isRunning: () => running, exited }
}

/** Takes hold of a server that is nobody's child any more. */
export function adoptPostmaster(pid: number, clusterDir: string): Postmaster {
  const isRunning = () => isPostmaster(pid, clusterDir)
  return { pid, isRunning, exited: new Promise(() => {}) }
}

/**
 * Fast shutdown: sessions are ended, everything is written, the next start needs no recovery. When that
 * takes too long, immediate shutdown, which the next start recovers from.
 */
export async function stopPostmaster(
  postmaster: Postmaster,
  options: { nativeDir: string; clusterDir: string; user: ServerUser | undefined },
): Promise<void> {
  const { nativeDir, clusterDir, user } = options
  const pgCtl = join(nativeDir, 'bin', 'pg_ctl')
  if (process.platform === 'win32') {
    // Windows has no signals: pg_ctl speaks to the server through a pipe instead.
    const args = ['stop', '-D', clusterDir, '-m', 'fast', '-t', String(FAST_SHUTDOWN_MS / 1000)]
    await runAs(undefined, pgCtl, args, { cwd: nativeDir, timeoutMs: FAST_SHUTDOWN_MS * 2 })
  }
  for (const [signal, boundMs] of [
    ['SIGINT', FAST_SHUTDOWN_MS],
    ['SIGQUIT', IMMEDIATE_SHUTDOWN_MS],
    ['SIGKILL', IMMEDIATE_SHUTDOWN_MS],
  ] as const) {
    if (!postmaster.isRunning()) break
    if (signalPostmaster(postmaster, signal) === 'refused') {
      // Root without CAP_KILL may not signal the server's user, but may still become it.
      const args = ['kill', signal.slice('SIG'.length), String(postmaster.pid)]
      await runAs(user, pgCtl, args, { cwd: nativeDir, timeoutMs: IMMEDIATE_SHUTDOWN_MS })
    }
    if (await becomesTrue(() => !postmaster.isRunning(), boundMs)) break
  }
  // The one that writes the log ends a moment after the others.
  if (!postmaster.isRunning() && (await becomesTrue(() => !hasProcesses(clusterDir), LEFTOVER_MS))) return
  throw new EmbeddedPostgresError(
    'stop_failed',
    `The PostgreSQL process ${postmaster.pid} or one of its children does not end. End it by hand, then ` +
      'start again.',
  )
}

function hasProcesses(clusterDir: string): boolean {
  return process.platform !== 'win32' && serverProcesses(clusterDir).length > 0
}

export function signalPostmaster(postmaster: Postmaster, signal: NodeJS.Signals): 'sent' | 'refused' {
  try {
    if (postmaster.isRunning()) process.kill(postmaster.pid, signal)
    return 'sent'
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ESRCH') return 'sent' // it ended meanwhile
    if (code === 'EPERM') return 'refused'
    throw error
  }
}

/**
 * Makes way for a new server after one was killed: waits until the processes it left have noticed and are
 * gone, then removes a postmaster.pid whose pid belongs to something else by now, which PostgreSQL itself
 * would take for a running server.
 */
export async function clearAfterCrash(clusterDir: string): Promise<void> {
  if (process.platform === 'win32') return // PostgreSQL sees to it alone there
  const pidFile = readPidFile(clusterDir)
  if (pidFile === undefined) return
  if (!(await becomesTrue(() => !hasProcesses(clusterDir), LEFTOVER_MS))) {
    throw new EmbeddedPostgresError(
      'data_dir_in_use',
      `PostgreSQL processes ${serverProcesses(clusterDir).join(', ')} of an earlier server still use ` +
        `${clusterDir}. End them, then start again.`,
    )
  }
  // Else left in place: it leads PostgreSQL to the old server's shared memory, its own check that all are gone.
  if (processExists(pidFile.pid)) rmSync(join(clusterDir, 'postmaster.pid'), { force: true })
}

function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** The last lines that the server wrote, before and after it opened its own log. */
export function readLogTail(clusterDir: string, startLogPath: string): string {
  const logDir = join(clusterDir, 'log')
  const files = [startLogPath]
  try {
    const newest = readdirSync(logDir)
      .map((name) => join(logDir, name))
      .toSorted((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs)
      .at(-1)
    if (newest !== undefined) files.push(newest)
  } catch {
    // the server did not get as far as opening its log
  }
  const lines = files.flatMap((file) => {
    try {
      return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-15)
    } catch {
      return []
    }
  })
  return lines.join('\n')
}

async function becomesTrue(condition: () => boolean, boundMs: number): Promise<boolean> {
  const deadline = performance.now() + boundMs
  while (!condition()) {
    if (performance.now() > deadline) return false
    await delay(POLL_MS)
  }
  return true
}

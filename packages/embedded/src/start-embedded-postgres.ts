import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '@posthorn/runtime'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'
import { findCluster, type Home, keepLockPrivate, openHome, readPassword } from './home.ts'
import { type OwnerLock, tryOwnerLock } from './owner-lock.ts'
import { readPidFile, signalPostmaster } from './postmaster.ts'
import { type RunningServer, runServer } from './run-server.ts'
import { checkHealth, ensureDatabase, serverUrl } from './server-connection.ts'

export type EmbeddedPostgresOptions = {
  /** Made when missing. One machine (or container) at a time may use it. */
  dataDir: string
  /** The database in the answered URL, `posthorn` when left out; made when missing. */
  database?: string
  /** A free one is chosen when left out. */
  port?: number
  /** Server settings, added to or instead of Posthorn's own; a joined server keeps those it has. */
  settings?: Readonly<Record<string, string>>
  /** Where root puts what the server's user cannot reach; `/var/lib/posthorn` when left out. */
  reachableDir?: string
  /** Told in one line each what takes a moment, or what the user should know. */
  onProgress?: (line: string) => void
  /** How long to wait for another program's server to answer; 60,000 when left out. */
  joinTimeoutMs?: number
  /** Called when the server ends without `stop()`, killed from outside: every connection is gone for good. */
  onEnded?: () => void
  logger?: Pick<Logger, 'info' | 'warn'>
}

export type EmbeddedPostgres = {
  /** Has the password in it: not for logs. */
  url: string
  /** The directory of the PostgreSQL files themselves, which root may have had to put elsewhere. */
  dataDir: string
  port: number
  /** The server's main process. */
  pid: number
  /**
   * `new`: the data was made. `resumed`: it was there. `recovered`: it was there, and the server or its
   * program had been killed. `joined`: another program runs the server; when that stops it, connections
   * break.
   */
  started: 'new' | 'resumed' | 'recovered' | 'joined'
  /** Shuts the server down and waits until it has ended; does nothing for a joiner. May be called again. */
  stop(): Promise<void>
}

const JOIN_POLL_MS = 40

/**
 * Runs a real PostgreSQL 18 on `dataDir`, or joins the one that another program runs there. It listens on
 * 127.0.0.1 only and asks for a password, which is kept in `dataDir`, readable by its owner only.
 *
 * Throws EmbeddedPostgresError with a code; the message says what to do.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const home = openHome(resolve(options.dataDir))
  const deadline = performance.now() + (options.joinTimeoutMs ?? 60_000)
  for (;;) {
    const lock = tryOwnerLock(home.lockPath)
    if (lock !== undefined) return await startAsOwner(home, lock, options)
    const joined = await tryJoin(home, options)
    if (joined !== undefined) return joined
    if (performance.now() > deadline) {
      throw new EmbeddedPostgresError(
        'data_dir_in_use',
        `Another program is using ${home.dir}, and its PostgreSQL does not answer. Stop that program, or ` +
          'choose another data directory.',
      )
    }
    await delay(JOIN_POLL_MS) // the owner is starting or stopping
  }
}

async function startAsOwner(
  home: Home,
  lock: OwnerLock,
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const { logger, database = 'posthorn' } = options
  let server: RunningServer | undefined
  try {
    keepLockPrivate(home)
    server = await runServer(home, {
      reachableDir: options.reachableDir ?? '/var/lib/posthorn',
      port: options.port,
      settings: options.settings ?? {},
      onProgress: options.onProgress ?? (() => {}),
    })
    await ensureDatabase(server.address, database)
  } catch (error) {
    await server?.stop()
    lock.release()
    throw error
  }

  const { address, postmaster, clusterDir, started, stop } = server
  // For a program that ends without stop(): the server then shuts itself down a moment later.
  const stopAtExit = () => signalPostmaster(postmaster, 'SIGINT')
  process.once('exit', stopAtExit)
  const letGo = () => {
    process.off('exit', stopAtExit)
    lock.release()
  }
  let stopping: Promise<void> | undefined
  void postmaster.exited.then(() => {
    if (stopping !== undefined) return
    // Killed from outside. Without the lock the next start, here or elsewhere, recovers at once; what then
    // runs on this cluster is no longer ours to stop.
    stopping = Promise.resolve()
    logger?.warn({ serverPid: postmaster.pid }, 'embedded PostgreSQL ended by itself')
    letGo()
    options.onEnded?.()
  })
  logger?.info({ port: address.port, serverPid: postmaster.pid, started }, 'embedded PostgreSQL started')
  return {
    url: serverUrl(address, database),
    dataDir: clusterDir,
    port: address.port,
    pid: postmaster.pid,
    started,
    stop() {
      stopping ??= stop().finally(letGo)
      return stopping
    },
  }
}

async function tryJoin(home: Home, options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres | undefined> {
  const clusterDir = findCluster(home)
  if (clusterDir === undefined || !existsSync(clusterDir)) return undefined
  const pidFile = readPidFile(clusterDir)
  if (pidFile === undefined) return undefined
  const { pid, port } = pidFile
  const address = { port, password: readPassword(home) }
  if ((await checkHealth(address, clusterDir)) !== 'ready') return undefined

  if (options.port !== undefined && options.port !== port) {
    throw new EmbeddedPostgresError(
      'data_dir_in_use',
      `Another program runs PostgreSQL on ${home.dir}, on port ${port} instead of ${options.port}. Stop that ` +
        'program, or leave the port out.',
    )
  }
  const database = options.database ?? 'posthorn'
  await ensureDatabase(address, database)
  options.logger?.info({ port, pid }, 'embedded PostgreSQL joined')
  const url = serverUrl(address, database)
  return { url, dataDir: clusterDir, port, pid, started: 'joined', stop: () => Promise.resolve() }
}

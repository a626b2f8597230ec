import { existsSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join, relative } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { majorVersion, prepareBinaries } from './binaries.ts'
import { isCluster, makeCluster, trimLogs } from './cluster.ts'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'
import {
  assertReachable,
  clusterOwner,
  findAbandoned,
  findCluster,
  type Home,
  makePassword,
  placeCluster,
  readPassword,
  removeLeftovers,
  writeNote,
} from './home.ts'
import {
  adoptPostmaster,
  clearAfterCrash,
  type Postmaster,
  readLogTail,
  readPidFile,
  spawnPostmaster,
  stopPostmaster,
} from './postmaster.ts'
import { checkHealth, type ServerAddress } from './server-connection.ts'
import { isPostmaster } from './server-processes.ts'
import { serverSettings } from './server-settings.ts'
import { chooseServerUser, type ServerUser } from './server-user.ts'

export type RunningServer = {
  clusterDir: string
  address: ServerAddress
  postmaster: Postmaster
  started: 'new' | 'resumed' | 'recovered'
  stop(): Promise<void>
}

export type RunOptions = {
  reachableDir: string
  port: number | undefined
  settings: Readonly<Record<string, string>>
  onProgress: (line: string) => void
}

/** What stays the same between looking for an orphan, starting and stopping. */
type Server = {
  clusterDir: string
  nativeDir: string
  user: ServerUser | undefined
  password: string
  startLogPath: string
}

const POLL_MS = 20
const READY_MS = 60_000
// Reading back the log after a crash takes as long as it takes; while the server says so, it is waited for.
const RECOVERY_MS = 600_000
const ORPHAN_MS = 5_000
const PORT_ATTEMPTS = 5

/** Brings the server of `home` up. The caller holds the owner lock: nobody else does any of this meanwhile. */
export async function runServer(home: Home, options: RunOptions): Promise<RunningServer> {
  const { reachableDir, onProgress } = options
  const found = findCluster(home)
  const user = chooseServerUser({
    clusterOwnerUid: clusterOwner(found),
    parentOwnerUid: statSync(dirname(home.dir)).uid,
  })
  const { nativeDir } = await prepareBinaries({ user, reachableDir, onProgress })

  removeLeftovers(home, reachableDir)
  const existing = found !== undefined && isCluster(found) ? found : undefined
  if (existing !== undefined) assertReachable(existing, user)
  const clusterDir = existing ?? (await makeClusterFor(home, { nativeDir, user, reachableDir, onProgress }))
  const unclean = existsSync(join(clusterDir, 'postmaster.pid'))
  const started = existing === undefined ? 'new' : unclean ? 'recovered' : 'resumed'

  const { startLogPath } = home
  const server = { clusterDir, nativeDir, user, password: readPassword(home), startLogPath }
  const { postmaster, port } =
    (await takeOver(server, options)) ?? (await startAnew(server, started === 'recovered', options))
  return {
    clusterDir,
    address: { port, password: server.password },
    postmaster,
    started,
    stop: () => stopPostmaster(postmaster, server),
  }
}

async function makeClusterFor(
  home: Home,
  options: { nativeDir: string; user: ServerUser | undefined } & Pick<
    RunOptions,
    'reachableDir' | 'onProgress'
  >,
): Promise<string> {
  const { nativeDir, user, reachableDir, onProgress } = options
  const { clusterDir, note } = placeCluster(home, user, reachableDir)
  onProgress(`making a PostgreSQL ${majorVersion} server in ${forReading(clusterDir)} (once)`)
  if (note !== undefined && user !== undefined) {
    onProgress(`its data is not in ${home.dir}, because the user "${user.name}" cannot enter that directory`)
    for (const path of findAbandoned(home, reachableDir)) onProgress(`earlier data is still in ${path}`)
  }
  const password = makePassword(home)
  await makeCluster({ nativeDir, clusterDir, password, user })
  if (note !== undefined) writeNote(home, note)
  return clusterDir
}

/** Relative where that is shorter to read: `.posthorn/postgres/cluster`. */
function forReading(path: string): string {
  const fromHere = relative(process.cwd(), path)
  return fromHere.startsWith('..') ? path : fromHere
}

type Started = { postmaster: Postmaster; port: number }

/**
 * A program killed by kill -9 leaves its server running. It becomes ours, with the sessions of joiners; one
 * that does not answer, or is on another port than asked for, is stopped.
 */
async function takeOver(server: Server, options: RunOptions): Promise<Started | undefined> {
  const { clusterDir, password } = server
  const pidFile = readPidFile(clusterDir)
  if (pidFile === undefined || !isPostmaster(pidFile.pid, clusterDir)) return undefined
  const { pid, port } = pidFile
  const orphan = adoptPostmaster(pid, clusterDir)
  if (options.port === undefined || options.port === port) {
    const deadline = performance.now() + ORPHAN_MS
    while (orphan.isRunning() && performance.now() < deadline) {
      if ((await checkHealth({ port, password }, clusterDir)) === 'ready') {
        options.onProgress(`taking over the PostgreSQL server (process ${pid}) that a killed program left`)
        return { postmaster: orphan, port }
      }
      await delay(POLL_MS)
    }
  }
  await stopPostmaster(orphan, server)
  return undefined
}

async function startAnew(server: Server, recovering: boolean, options: RunOptions): Promise<Started> {
  const { clusterDir } = server
  await clearAfterCrash(clusterDir)
  trimLogs(clusterDir, Date.now())
  if (recovering) options.onProgress('PostgreSQL was not shut down; recovering its data')

  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await findFreePort())
    const postmaster = spawnPostmaster({
      ...server,
      port,
      settings: { ...serverSettings, ...options.settings },
    })
    const outcome = await waitUntilReady(server, postmaster, port)
    if (outcome === 'ready') return { postmaster, port }

    const logTail = readLogTail(clusterDir, server.startLogPath)
    await stopPostmaster(postmaster, server)
    if (/could not bind .*: (Address already in use|Permission denied)/.test(logTail)) {
      // Somebody took the free port between our asking and the server's binding.
      if (options.port === undefined && attempt < PORT_ATTEMPTS) continue
      throw new EmbeddedPostgresError(
        'port_in_use',
        `PostgreSQL cannot listen on 127.0.0.1:${port}. Stop what listens there, or leave the port out to ` +
          `have a free one chosen. It said:\n${logTail}`,
      )
    }
    const what = outcome === 'ended' ? 'ended while starting' : 'did not become ready'
    throw new EmbeddedPostgresError(
      'start_failed',
      `PostgreSQL on ${clusterDir} ${what}. Put right what it names, then start again. It said:\n${logTail}`,
    )
  }
}

async function waitUntilReady(
  server: Server,
  postmaster: Postmaster,
  port: number,
): Promise<'ready' | 'ended' | 'timed_out'> {
  const begunAt = performance.now()
  let boundMs = READY_MS
  while (performance.now() - begunAt < boundMs) {
    if (!postmaster.isRunning()) return 'ended'
    // A foreign program on the port may never answer; the server then ends at once, and so does the waiting.
    const health = await Promise.race([
      checkHealth({ port, password: server.password }, server.clusterDir),
      postmaster.exited,
    ])
    if (health === 'ready') return 'ready'
    if (health === 'starting') boundMs = RECOVERY_MS
    await delay(POLL_MS)
  }
  return 'timed_out'
}

function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => resolve(port))
    })
  })
}

import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '@posthorn/embedded'
import { endWithParent } from './end-with-parent.ts'
import { waitFor } from './wait-for.ts'

export type TestPostgres = {
  url: string
  /** Of the postmaster that runs now. */
  readonly pid: number
  dataDir: string
  /** Ends the postmaster with SIGKILL, as a crash would; restart() brings it back with what was on disk. */
  kill(): Promise<void>
  /** The same port and the same files. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** A PostgreSQL server of its own in a temporary directory, which stop() removes. */
export async function startPostgres(
  options: { settings?: Readonly<Record<string, string>> } = {},
): Promise<TestPostgres> {
  const dir = await mkdtemp(join(tmpdir(), 'posthorn-test-'))
  // mkdtemp makes it 700, and under root the server runs as another user, who has to pass through.
  await chmod(dir, 0o711)
  const launch = async (port?: number) => {
    const server = await startEmbeddedPostgres({
      dataDir: join(dir, 'postgres'),
      ...(port !== undefined && { port }),
      settings: {
        // The data need not outlive the machine. synchronous_commit stays on: its order is what we test.
        fsync: 'off',
        full_page_writes: 'off',
        max_connections: '400',
        ...options.settings,
      },
    })
    return { server, callOffGuard: endWithParent(server.pid, 'INT', dir) }
  }
  let running = await launch()
  const { url, dataDir, port } = running.server
  return {
    url,
    dataDir,
    get pid() {
      return running.server.pid
    },
    async kill() {
      const { server, callOffGuard } = running
      callOffGuard()
      process.kill(server.pid, 'SIGKILL')
      await waitFor(() => !isRunning(server.pid), { message: 'the killed postmaster to be gone' })
    },
    async restart() {
      await running.server.stop()
      running.callOffGuard()
      running = await launch(port)
    },
    async stop() {
      await running.server.stop()
      running.callOffGuard()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

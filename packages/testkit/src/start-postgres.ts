import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '@posthorn/embedded'
import { endWithParent } from './end-with-parent.ts'

export type TestPostgres = { url: string; pid: number; dataDir: string; stop(): Promise<void> }

/** A PostgreSQL server of its own in a temporary directory, which stop() removes. */
export async function startPostgres(
  options: { settings?: Readonly<Record<string, string>> } = {},
): Promise<TestPostgres> {
  const dir = await mkdtemp(join(tmpdir(), 'posthorn-test-'))
  // mkdtemp makes it 700, and under root the server runs as another user, who has to pass through.
  await chmod(dir, 0o711)
  const server = await startEmbeddedPostgres({
    dataDir: join(dir, 'postgres'),
    settings: {
      // The data need not outlive the machine. synchronous_commit stays on: its order is what we test.
      fsync: 'off',
      full_page_writes: 'off',
      max_connections: '400',
      ...options.settings,
    },
  })
  const callOffGuard = endWithParent(server.pid, 'INT', dir)
  return {
    url: server.url,
    pid: server.pid,
    dataDir: server.dataDir,
    async stop() {
      await server.stop()
      callOffGuard()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

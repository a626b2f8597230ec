import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url))
const INSTALL_MS = 300_000

/**
 * What a newcomer does first, of this repository's last commit.
 *
 * @throws where this is no git repository, or where packages cannot be had
 */
export async function cloneAndInstall(into: string): Promise<void> {
  await run('git', ['clone', '--quiet', '--local', REPOSITORY, into])
  const { devEngines } = JSON.parse(await readFile(`${REPOSITORY}/package.json`, 'utf8')) as {
    devEngines: { packageManager: { version: string } }
  }
  const pnpm = `pnpm@${devEngines.packageManager.version}`
  const install = ['-y', pnpm, 'install', '--frozen-lockfile', '--prefer-offline']
  await run('npx', install, { cwd: into, timeout: INSTALL_MS })
}

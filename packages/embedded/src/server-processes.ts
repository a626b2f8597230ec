import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { shortHash } from './binaries.ts'

/** Put into the title of each process of the server, to be known by. */
export function clusterName(clusterDir: string): string {
  return `posthorn-${shortHash(clusterDir)}`
}

/**
 * Whether `pid` is the main process of the server on this cluster. A pid alone proves nothing: after a crash
 * or a reboot it may belong to anything, and a zombie still answers to signal 0.
 *
 * Judged by the command line, since the working directory of another user's process is hidden even from root
 * in a container without CAP_SYS_PTRACE.
 */
export function isPostmaster(pid: number, clusterDir: string): boolean {
  const command = readCommand(pid)
  return command?.includes(`\0-D\0${clusterDir}\0`) ?? false
}

/** All processes of the server on this cluster, with those that outlive their killed main process. */
export function serverProcesses(clusterDir: string): number[] {
  const title = `postgres: ${clusterName(clusterDir)}: `
  return listPids().filter((pid) => {
    const command = readCommand(pid)
    return command?.includes(`\0-D\0${clusterDir}\0`) || command?.startsWith(title)
  })
}

function listPids(): number[] {
  const names =
    process.platform === 'linux'
      ? readdirSync('/proc')
      : execFileSync('ps', ['-ax', '-o', 'pid='], { encoding: 'utf8' }).split('\n')
  return names.map(Number).filter((pid) => Number.isInteger(pid) && pid > 0)
}

/** Arguments separated and ended by NUL, as in /proc; undefined when there is no such process. */
function readCommand(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    const line = execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' })
    // ps separates by blanks; the two that matter are those around the cluster's directory.
    return line.trimEnd().replace(/ -D (.*?) -p /, '\0-D\0$1\0-p\0')
  } catch {
    return undefined
  }
}

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
  return isMainCommand(readCommand(pid), clusterDir)
}

/** All processes of the server on this cluster, with those that outlive their main process. */
export function serverProcesses(clusterDir: string): number[] {
  const title = `postgres: ${clusterName(clusterDir)}: `
  return listCommands()
    .filter(({ command }) => isMainCommand(command, clusterDir) || command.startsWith(title))
    .map(({ pid }) => pid)
}

/** A child has the command line of its parent until it has set its title. */
function isMainCommand(command: string, clusterDir: string): boolean {
  return command.includes(`\0-D\0${clusterDir}\0`)
}

/** Arguments separated and ended by NUL, as in /proc; empty for a zombie and where there is no process. */
function readCommand(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    return separateCluster(ps('-p', String(pid)))
  } catch {
    return ''
  }
}

function listCommands(): { pid: number; command: string }[] {
  if (process.platform === 'linux') {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
    return pids.map((pid) => ({ pid: Number(pid), command: readCommand(Number(pid)) }))
  }
  return ps('-ax')
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, pid, command]) => ({ pid: Number(pid), command: separateCluster(command ?? '') }))
}

function ps(...selection: string[]): string {
  return execFileSync('ps', ['-ww', ...selection, '-o', 'pid=,command='], { encoding: 'utf8' })
}

/** ps separates arguments by blanks; those that matter are around the cluster's directory. */
function separateCluster(command: string): string {
  return command.replace(/ -D (.*?) -p /, '\0-D\0$1\0-p\0')
}

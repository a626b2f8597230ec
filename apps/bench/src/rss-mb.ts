import { execFileSync } from 'node:child_process'

/** Memory of a process that is in RAM. */
export function rssMb(pid: number): number {
  return Math.round(
    Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024,
  )
}

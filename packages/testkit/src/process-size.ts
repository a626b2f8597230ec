import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** What a process takes up. Linux only. */
export interface ProcessSize {
  rssMb: number
  /** The most that it ever was. */
  rssPeakMb: number
  sockets: number
}

export function processSize(pid: number): ProcessSize {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const megabytes = (name: string) =>
    Math.round(Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)![1]) / 1_024)
  return { rssMb: megabytes('VmRSS'), rssPeakMb: megabytes('VmHWM'), sockets: countSockets(pid) }
}

function countSockets(pid: number): number {
  const dir = `/proc/${pid}/fd`
  return readdirSync(dir).filter((fd) => {
    try {
      return readlinkSync(`${dir}/${fd}`).startsWith('socket:')
    } catch {
      // It was closed between the look into the directory and this one.
      return false
    }
  }).length
}

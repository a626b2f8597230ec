import { readFile } from 'node:fs/promises'

/** Of one process, in MB. */
interface Resident {
  name: string
  startMb: number
  maxMb: number
}

export interface MemoryWatch {
  /** @returns the most that all processes together had more than at the start, at any one time */
  stop(): { growthMb: number; processes: Resident[] }
}

const EVERY_MS = 500

/** Watches the resident memory of processes, from what they have now. Linux only: it reads /proc. */
export async function watchMemory(
  processes: readonly { name: string; readonly pid: number | undefined }[],
): Promise<MemoryWatch> {
  const start = await Promise.all(processes.map(({ pid }) => readResidentMb(pid!)))
  const max = [...start]
  let growthMb = 0
  const timer = setInterval(() => {
    void Promise.all(processes.map(({ pid }) => readResidentMb(pid!).catch(() => 0))).then((now) => {
      for (const [at, mb] of now.entries()) max[at] = Math.max(max[at]!, mb)
      growthMb = Math.max(growthMb, sum(now) - sum(start))
    })
  }, EVERY_MS)
  return {
    stop() {
      clearInterval(timer)
      const residents = processes.map(({ name }, at) => ({ name, startMb: start[at]!, maxMb: max[at]! }))
      return { growthMb, processes: residents }
    },
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

async function readResidentMb(pid: number): Promise<number> {
  return parseResidentMb(await readFile(`/proc/${pid}/status`, 'utf8'))
}

/** @param status the text of /proc/PID/status */
export function parseResidentMb(status: string): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? []
  if (kib === undefined) throw new Error('There is no VmRSS in the status of a process.')
  return Math.round((Number(kib) * 1_024) / 1e6)
}

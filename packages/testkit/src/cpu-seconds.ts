import { readdirSync, readFileSync } from 'node:fs'

/** Of Linux, on all that Node runs on. */
const TICKS_PER_SECOND = 100

/** Of a process, of those of its children that live, and of those that have ended. Linux only. */
export function cpuSeconds(pid: number): number {
  const ticks = statOf(pid)
  let sum = ticks.own + ticks.ended
  for (const child of childrenOf(pid)) sum += statOf(child).own
  return sum / TICKS_PER_SECOND
}

/** Of processes and everything below them, each once. Linux only. */
export function cpuSecondsOfTrees(pids: readonly number[]): number {
  const all = new Map(processIds().map((pid) => [pid, statOf(pid)]))
  const counted = new Set<number>()
  const count = (pid: number) => {
    if (counted.has(pid)) return
    counted.add(pid)
    for (const [child, { parent }] of all) if (parent === pid) count(child)
  }
  for (const pid of pids) {
    if (!all.has(pid)) throw new Error(`There is no process ${pid}.`)
    count(pid)
  }
  let ticks = 0
  for (const pid of counted) ticks += all.get(pid)!.own + all.get(pid)!.ended
  return ticks / TICKS_PER_SECOND
}

function childrenOf(pid: number): number[] {
  return processIds().filter((other) => statOf(other).parent === pid)
}

function processIds(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

/** proc(5), fields 4 (ppid), 14 to 17 (utime, stime, cutime, cstime). */
function statOf(pid: number): { parent: number; own: number; ended: number } {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name before it may hold spaces.
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    const [parent] = [fields[1]!]
    return { parent, own: fields[11]! + fields[12]!, ended: fields[13]! + fields[14]! }
  } catch {
    // It ended between the look into the directory and this one.
    return { parent: 0, own: 0, ended: 0 }
  }
}

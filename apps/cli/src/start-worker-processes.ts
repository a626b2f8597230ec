import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Logger } from '@posthorn/runtime'
import { nextFailures, restartPauseMs } from './restart-pause.ts'

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))
/** Within the 30 s that a whole shutdown may take, with some left for what is closed after the workers. */
const STOP_MS = 25_000

export interface WorkerProcesses {
  /** Lets all finish what is in flight. Throws when one had to be killed, or could not close what it had. */
  close(): Promise<void>
}

/** How a process ended. */
interface End {
  code: number | null
  signal: NodeJS.Signals | null
}

/**
 * Runs `count` processes of `posthorn worker` with this environment and this process's own options of Node, and
 * starts one anew that ends before it was asked to. They write where this process writes.
 *
 * They end with this process, however it ends: an IPC channel, over which nothing is sent, is closed by the
 * kernel too.
 */
export function startWorkerProcesses(options: {
  count: number
  env: NodeJS.ProcessEnv
  logger: Logger
}): WorkerProcesses {
  const { count, env, logger } = options
  const stopping = new AbortController()
  const running = new Set<ChildProcess>()
  const faults: string[] = []
  const killAll = () => {
    for (const child of running) child.kill('SIGKILL')
  }
  // At a second signal, or when the bound of the shutdown is over: nobody waits for them any more.
  process.once('exit', killAll)

  async function runOnce(): Promise<End & { pid: number | undefined }> {
    const child = fork(MAIN, ['worker', '--supervised'], {
      env,
      // Of an inspector's port there is only one.
      execArgv: process.execArgv.filter((option) => !option.startsWith('--inspect')),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    running.add(child)
    const end = await endOf(child, logger)
    running.delete(child)
    return { pid: child.pid, ...end }
  }

  async function keepRunning(): Promise<void> {
    let failures = 0
    while (!stopping.signal.aborted) {
      const startedAt = performance.now()
      const { pid, code, signal } = await runOnce()
      if (stopping.signal.aborted) {
        if (code !== 0 && code !== null) faults.push(`Worker ${pid} ended with ${code}.`)
        return
      }
      failures = nextFailures(failures, performance.now() - startedAt)
      const pauseMs = restartPauseMs(failures)
      logger.error({ workerPid: pid, code, signal, pauseMs }, 'worker.ended')
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  const kept = Array.from({ length: count }, keepRunning)
  logger.info({ workers: count }, 'workers.started')

  return {
    async close() {
      stopping.abort()
      for (const child of running) if (child.connected) child.disconnect()
      const timer = setTimeout(() => {
        for (const { pid } of running) faults.push(`Worker ${pid} was killed after ${STOP_MS} ms.`)
        killAll()
      }, STOP_MS)
      await Promise.all(kept)
      clearTimeout(timer)
      process.off('exit', killAll)
      if (faults.length > 0) throw new Error(faults.join(' '))
    },
  }
}

function endOf(child: ChildProcess, logger: Logger): Promise<End> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
    child.on('error', (err) => {
      logger.error({ err, workerPid: child.pid }, 'worker.failed')
      // It could not be started: there is no exit to come.
      if (child.pid === undefined) resolve({ code: null, signal: null })
    })
  })
}

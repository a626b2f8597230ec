import closeWithGrace from 'close-with-grace'
import type { Logger } from './logger.ts'

export interface Shutdown {
  /**
   * Registers what to close. The last registered is closed first, as with AsyncDisposableStack: what was
   * started later uses what was started earlier. May be called at any time, so that a stop in the
   * middle of a start closes what there is by then.
   */
  defer(name: string, close: () => Promise<void> | void): void
  /**
   * Runs the start of a program. A stop in the middle of it takes away what it uses: what it then fails for is
   * logged, and no failure of the program.
   */
  starting(start: () => Promise<void>): Promise<void>
  /** Starts the same shutdown by program; exit code 0, or 1 where what the program was to do `failed`. */
  stop(options?: { failed: boolean }): void
  /** Takes the signal handlers away again, and closes nothing. */
  uninstall(): void
}

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Closes everything in order when the process is told to stop, within `boundMs` in all.
 *
 * Exit codes: 0 after a signal, `stop()` or running out of work; 1 after an uncaught error or
 * `stop({ failed: true })`, when a closer fails, when the bound is over (the log names the closer that hangs) and at a second signal.
 *
 * A `supervised` process is asked to stop by the end of its IPC channel, which comes also when its parent was
 * killed. A terminal or a service manager may signal it beside that, before or after: that is the same request
 * once more, and no second signal.
 */
export function onShutdown(options: { logger: Logger; boundMs: number; supervised?: boolean }): Shutdown {
  const { logger, boundMs, supervised = false } = options
  const closers: { name: string; close: () => Promise<void> | void }[] = []
  let closing: string | undefined
  let failed = false
  let stopping = false

  const handle = closeWithGrace(
    {
      delay: boundMs,
      logger: false,
      skip: supervised ? [...STOP_SIGNALS] : [],
      onTimeout: () => logger.fatal({ closing, boundMs }, 'shutdown took too long, exiting'),
      onSecondSignal: (signal) => logger.error({ signal, closing }, 'second signal, exiting'),
      onSecondError: (err) => logger.error({ err, closing }, 'error while shutting down, exiting'),
    },
    async ({ err, signal }) => {
      stopping = true
      if (err !== undefined) logger.fatal({ err }, 'uncaught error, shutting down')
      else logger.info({ signal }, 'shutting down')
      const allClosed = await closeAll()
      // What this throws is the exit code and nothing else: it was told where it happened.
      if (failed || !allClosed) throw new Error('failed')
    },
  )

  const stopOnce = () => {
    if (stopping) return
    stopping = true
    handle.close()
  }
  if (supervised) {
    for (const signal of STOP_SIGNALS) process.on(signal, stopOnce)
    process.on('disconnect', stopOnce)
    // The parent may have gone before anybody listened.
    if (!process.connected) stopOnce()
  }

  /** True when every closer ended well. One that fails does not keep the others from closing. */
  async function closeAll(): Promise<boolean> {
    let allClosed = true
    for (let closer = closers.pop(); closer !== undefined; closer = closers.pop()) {
      closing = closer.name
      try {
        await closer.close()
      } catch (err) {
        allClosed = false
        logger.error({ err, closing }, 'could not close')
      }
    }
    closing = undefined
    return allClosed
  }

  return {
    defer: (name, close) => {
      closers.push({ name, close })
    },
    async starting(start) {
      try {
        await start()
      } catch (err) {
        if (!stopping) throw err
        logger.info({ err }, 'stopped while starting')
      }
    },
    stop(options) {
      failed = options?.failed ?? false
      handle.close()
    },
    uninstall() {
      handle.uninstall()
      for (const event of [...STOP_SIGNALS, 'disconnect']) process.off(event, stopOnce)
    },
  }
}

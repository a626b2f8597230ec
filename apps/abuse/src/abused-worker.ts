// A worker as `posthorn worker` composes it, but for four things that the suite needs: names are looked up at
// its own DNS server, no circuit breaker opens (the suite means to fail a thousand times), its log goes into a file,
// and SIGWINCH makes it say what it holds, and how long it stood still since it said so before.
import { promises as dns, type LookupAddress } from 'node:dns'
import { openSync, writeSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createQueueBackend } from '@posthorn/queue'
import { createLogger, onShutdown, parseSettings } from '@posthorn/runtime'
import { createStore, createVault, waitForDatabase } from '@posthorn/store'
import { startWorker, type WorkerContext } from '@posthorn/worker'
import { ALLOWED_ADDRESS, RESPONDER_NAMES } from './addresses.ts'

const settings = parseSettings(process.env)
// Into a file: a pipe that the suite, busy with floods, does not read would hold the worker up with every line.
const log = openSync(process.env.POSTHORN_TEST_LOG!, 'a')
const logger = createLogger({
  level: settings.logLevel,
  name: 'posthorn-worker',
  destination: { write: (line) => void writeSync(log, line) },
})
const shutdown = onShutdown({ logger, boundMs: 30_000 })
const databaseUrl = settings.databaseUrl!
const store = createStore(databaseUrl, { max: 20, applicationName: 'posthorn-worker' })
shutdown.defer('database', () => store.close())
await waitForDatabase(store.pool, { timeoutMs: 60_000, onWait: () => {} })
const backend = createQueueBackend(
  settings.redisUrl === undefined
    ? { kind: 'postgres', url: databaseUrl }
    : { kind: 'redis', url: settings.redisUrl },
  logger,
)
const never = Number.MAX_SAFE_INTEGER
const worker = startWorker({
  ...{ store, backend, settings, logger, vault: createVault(settings.masterKeys!) },
  policy: { failuresMax: never, windowAttemptsMin: never, throttledMs: 0 },
  lookup: lookupAt(process.env.POSTHORN_TEST_DNS!),
})
shutdown.defer('worker', () => worker.close())

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as (options: { type: 'major'; flavor: 'last-resort' }) => void
const delays = monitorEventLoopDelay({ resolution: 20 })
delays.enable()
// A signal that means nothing to a program without a terminal; SIGUSR2 is a shutdown.
process.on('SIGWINCH', () => {
  const stallMs = Math.round(delays.max / 1e6)
  const rssFound = process.memoryUsage.rss()
  const { inFlight } = worker
  // Only of this flavor does V8 give back the pages that garbage was on: by itself it does so some ten seconds after
  // the last of the work, and not always at the first try. It takes some hundreds of milliseconds.
  if (inFlight === 0) collectGarbage({ type: 'major', flavor: 'last-resort' })
  // Not through the logger: a test double of a log would be no log.
  const { rss, heapUsed, external } = process.memoryUsage()
  process.stdout.write(
    `${JSON.stringify({ holds: { inFlight, rss, rssFound, inUse: heapUsed + external, stallMs } })}\n`,
  )
  // Not before the collection has been counted, which is no stall of the worker's own.
  setTimeout(() => delays.reset(), 100)
})
logger.info('worker.ready')
process.stdout.write('worker.ready\n')

/**
 * As dns.lookup answers, from one server. Names of responders are not asked for there, as those of a hosts file
 * would not be: what they answer is tried, and a machine that is busy with that would be late with names.
 */
function lookupAt(server: string): NonNullable<WorkerContext['lookup']> {
  return (hostname, _options, callback) => {
    if (RESPONDER_NAMES.test(hostname)) {
      setImmediate(() => callback(null, [{ address: ALLOWED_ADDRESS, family: 4 }]))
      return
    }
    // One for each name: an answer that is no DNS ends all questions that its resolver has asked and not heard of.
    const resolver = new dns.Resolver({ timeout: 1_500, tries: 1 })
    resolver.setServers([server])
    const found = Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)])
    void found.then(([four, six]) => {
      const addresses: LookupAddress[] = [
        ...(four.status === 'fulfilled' ? four.value : []).map((address) => ({ address, family: 4 })),
        ...(six.status === 'fulfilled' ? six.value : []).map((address) => ({ address, family: 6 })),
      ]
      if (addresses.length === 0 && four.status === 'rejected') callback(four.reason, [])
      else callback(null, addresses)
    })
  }
}

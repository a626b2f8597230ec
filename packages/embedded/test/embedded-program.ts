import pg from 'pg'
import { EmbeddedPostgresError, startEmbeddedPostgres } from '../src/index.ts'

/**
 * A program with an embedded server, for tests to start, signal and kill. Prints one line of JSON when the
 * server is up, and one when it failed. At SIGINT it still uses the database, then stops as a good one does.
 */
const [dataDir, reachableDir] = process.argv.slice(2)
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`)

try {
  const server = await startEmbeddedPostgres({
    dataDir: dataDir as string,
    ...(reachableDir === undefined ? {} : { reachableDir }),
    onProgress: (progress) => say({ progress }),
  })
  const { url, pid, started, port, dataDir: clusterDir } = server
  const keepAlive = setInterval(() => {}, 60_000)

  process.once('SIGINT', async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    const { rows } = await client.query('SELECT 1 AS drained')
    await client.end()
    say(rows[0])
    await server.stop()
    clearInterval(keepAlive)
  })
  process.once('SIGUSR2', () => process.exit(3))
  say({ ready: true, url, pid, started, port, clusterDir })
} catch (error) {
  if (!(error instanceof EmbeddedPostgresError)) throw error
  say({ failed: error.code, message: error.message })
  process.exitCode = 1
}

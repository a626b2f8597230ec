import { join } from 'node:path'
import { spawnNode } from '../src/spawn-node.ts'
import { startPostgres } from '../src/start-postgres.ts'

/** Starts a program (or, told so, a PostgreSQL server) of its own, says its pid, and waits to be killed. */
if (process.argv[2] === 'postgres') {
  const { pid, dataDir } = await startPostgres()
  process.stdout.write(`child ${pid} in ${dataDir}\n`)
} else {
  const child = spawnNode(join(import.meta.dirname, 'talking-program.ts'))
  await child.waitForLine(/pid of parent/)
  process.stdout.write(`child ${child.pid}\n`)
}
setInterval(() => {}, 60_000)

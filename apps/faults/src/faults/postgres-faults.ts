import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import type { Fault } from '../fault.ts'

const END_CONNECTIONS = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`

export const postgresFaults: Fault[] = [
  {
    name: 'postgres-killed',
    async inject({ postgres }, random) {
      await delay(random.between(0, 300))
      await postgres.kill()
      await delay(random.between(0, 1_500))
      await postgres.restart()
    },
  },
  {
    name: 'postgres-slow',
    async inject({ proxy }, random) {
      proxy.slow(random.between(50, 400))
      await delay(random.between(1_500, 4_000))
      proxy.slow(0)
    },
  },
  {
    // All connections are somebody else's.
    name: 'postgres-exhausted',
    async inject({ connectToDatabase, query }, random) {
      const taken: pg.Client[] = []
      await query(END_CONNECTIONS).catch(() => {})
      for (;;) {
        const client = await connectToDatabase().catch(() => undefined)
        if (client === undefined) break
        taken.push(client)
      }
      await delay(random.between(1_000, 3_000))
      await Promise.all(taken.map((client) => client.end().catch(() => {})))
    },
  },
  {
    // For tables and indexes. Whoever needs another page of one is refused.
    name: 'postgres-disk-full',
    needsSmallDisk: true,
    async inject({ disk }, random) {
      await disk!.fill()
      await delay(random.between(500, 3_000))
      await disk!.clear()
    },
  },
  {
    // Ended by the server, as an administrator or a failover does it; or by the network, for a while.
    name: 'postgres-cut',
    async inject({ proxy, query }, random) {
      if (random.next() < 0.5) {
        for (let round = random.between(1, 3); round > 0; round--) {
          await query(END_CONNECTIONS)
          await delay(random.between(0, 300))
        }
        return
      }
      proxy.slow(random.between(0, 60))
      await delay(random.between(50, 200))
      await proxy.cut()
      proxy.slow(0)
      await delay(random.between(0, 2_000))
      await proxy.restore()
    },
  },
]

import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { Scenario } from '../scenario.ts'
import { spread } from '../spread.ts'

const CALLERS = 256
const EVENTS = 15_000
/** As many commits as `EVENTS` messages of 1 KB take at that rate. */
const IN_COMMIT = 100
const BYTES = 1_024
const TABLE = 'CREATE TABLE bench_floor (id uuid PRIMARY KEY, payload bytea)'
const INSERT = `INSERT INTO bench_floor
  SELECT uuidv7(), substring($1::bytea FROM 1 + n * ${BYTES} FOR ${BYTES}) FROM generate_series(0, ${IN_COMMIT - 1}) n`

/**
 * The least that these parts can do of a delivery: a server of Node that takes the request, one row written and
 * committed, one POST. What Posthorn costs is above that; its ratio cannot be better than the floor's.
 */
export const floor: Scenario = {
  name: 'floor',
  quick: false,
  async run(stage, { repeats, say }) {
    const { platform } = stage
    const client = new pg.Client({ connectionString: platform.databaseUrl })
    await client.connect()
    await client.query(TABLE)
    async function insertUs(): Promise<number> {
      const before = platform.cpuSeconds().postgres
      for (let events = 0; events < EVENTS; events += IN_COMMIT) {
        await client.query({ name: 'floor', text: INSERT, values: [randomBytes(IN_COMMIT * BYTES)] })
      }
      return ((platform.cpuSeconds().postgres - before) * 1e6) / EVENTS
    }
    const postUs = async () => 1e6 / (await stage.bareLoopPerCpuSecond())
    const serverUs = async () =>
      1e6 / (await stage.bareServerPerCpuSecond({ callers: CALLERS, events: EVENTS }))
    // What a process compiles once is not what an event costs.
    await Promise.all([postUs(), serverUs(), insertUs()])
    const rounds: { server: number; insert: number; post: number }[] = []
    for (let repeat = 0; repeat < repeats; repeat++) {
      rounds.push({ server: await serverUs(), insert: await insertUs(), post: await postUs() })
    }
    await client.end()
    const of = (figure: (round: (typeof rounds)[number]) => number) => rounds.map(figure)
    const figures = {
      ...{ scenario: 'floor', variant: `1 KB, ${CALLERS} connections`, backend: stage.backend },
      ...spread(
        'serverUs',
        of(({ server }) => server),
      ),
      ...spread(
        'insertUs',
        of(({ insert }) => insert),
      ),
      ...spread(
        'postUs',
        of(({ post }) => post),
      ),
      ...spread(
        'ratioMost',
        of(({ server, insert, post }) => post / (server + insert + post)),
        3,
      ),
    }
    say(
      `floor: ${figures.serverUs} us to take a request, ${figures.insertUs} to commit a row, ${figures.postUs} to POST: ratio ${figures.ratioMost} at most`,
    )
    return [figures]
  },
}

import { type ProcessSize, processSize } from '@posthorn/testkit'
import type { Figures, Scenario } from '../scenario.ts'
import { spread } from '../spread.ts'
import type { Owner, Round, Stage } from '../stage.ts'

const REGISTER_AT_ONCE = 16

/**
 * Many endpoints, each of an owner of its own, on many origins, against the same endpoints on one origin:
 * only where they are differs. Owners take turns, so that an origin is seldom the same as the one before.
 *
 * Rounds are measured once each endpoint had an event where it now is: the worker then knows it, and is
 * connected to as many origins as it keeps connections to.
 */
export const many: Scenario = {
  name: 'many',
  quick: false,
  async run(stage, { quick, repeats, say }) {
    const [endpoints, originsCount] = quick ? [1_000, 100] : [10_000, 1_000]
    const owners = await addOwners(stage, endpoints)
    const origins = await stage.origins(originsCount)
    const measureOn = async (some: readonly string[]): Promise<Round> => {
      await moveEndpoints(stage, some)
      await stage.closed(owners, { entrance: 'rest', callers: 64, events: endpoints })
      return await stage.closed(owners, { entrance: 'rest', callers: 64, events: endpoints })
    }
    const rounds: { one: Round; many: Round; size: ProcessSize }[] = []
    const measureOne = () => measureOn(origins.slice(0, 1))
    const measureMany = async () => {
      const ofMany = await measureOn(origins)
      return { many: ofMany, size: processSize(stage.platform.pids.worker) }
    }
    for (let repeat = 0; repeat < repeats; repeat++) {
      // What comes first is at no advantage, nor at a disadvantage.
      if (repeat % 2 === 0) rounds.push({ one: await measureOne(), ...(await measureMany()) })
      else rounds.push({ ...(await measureMany()), one: await measureOne() })
    }
    const perSecond = ({ deliveries, seconds }: Round) => deliveries / seconds
    const perCpuSecond = ({ deliveries, cpu }: Round) =>
      deliveries / (cpu.api + cpu.worker + cpu.postgres + cpu.redis)
    const ratios = (of: (round: Round) => number) => rounds.map((round) => of(round.many) / of(round.one))
    const figures = {
      ...{ scenario: 'many', variant: `${endpoints} endpoints on ${originsCount} origins` },
      backend: stage.backend,
      ...spread(
        'deliveriesPerSecond',
        rounds.map((round) => perSecond(round.many)),
      ),
      ...spread(
        'oneOriginPerSecond',
        rounds.map((round) => perSecond(round.one)),
      ),
      ...spread('throughputRatio', ratios(perSecond), 3),
      ...spread('perCpuSecondRatio', ratios(perCpuSecond), 3),
      ...spread(
        'workerRssMb',
        rounds.map(({ size }) => size.rssMb),
      ),
      workerRssPeakMb: rounds.at(-1)!.size.rssPeakMb,
      ...spread(
        'workerSockets',
        rounds.map(({ size }) => size.sockets),
      ),
    } satisfies Figures
    say(
      `many: ${figures.deliveriesPerSecond}/s, ${figures.throughputRatio} times that of one origin; ` +
        `worker ${figures.workerRssMb} MB, ${figures.workerSockets} sockets`,
    )
    return [figures]
  },
}

async function addOwners(stage: Stage, count: number): Promise<Owner[]> {
  const owners: Owner[] = []
  let left = count
  const register = async () => {
    while (left-- > 0) owners.push(await stage.addOwner(1))
  }
  await Promise.all(Array.from({ length: REGISTER_AT_ONCE }, register))
  return owners
}

/** To these origins in turn; by SQL, as one request each would take longer than what is measured. */
async function moveEndpoints({ platform }: Stage, origins: readonly string[]): Promise<void> {
  const list = origins.map((origin) => `'${origin}'`)
  await platform.query(`
    UPDATE endpoints e SET url = regexp_replace(e.url, '^http://[^/]+', (ARRAY[${list}])[1 + n.at % ${origins.length}])
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS at FROM endpoints) n WHERE n.id = e.id`)
  await platform.query('VACUUM ANALYZE endpoints')
}

import { setTimeout as delay } from 'node:timers/promises'
import { decodeId } from '@posthorn/contracts'
import type { Accept, AcceptedMessage } from '@posthorn/dispatch'
import { newDeliveryId, type Vault } from '@posthorn/store'
import type { Random } from '@posthorn/testkit'
import { allFaults } from './faults/all-faults.ts'
import type { Field } from './start-field.ts'
import type { Rule } from './verdict.ts'

/** A mistake that somebody could make, put around the parts of production, and what brings it out. */
export interface PlantedBug {
  name: string
  /** Named statements, as they would be with the bug. */
  statements?: Record<string, (text: string) => string>
  /** The API's acceptance, as it would be with the bug. */
  decorateAccept?(accept: Accept): Accept
  /** What secrets are read with, as it would be with the bug. */
  decorateVault?(vault: Vault): Vault
  /** BullMQ's, over those of production. */
  workerOptions?: Record<string, number>
  /** Whose programs have it. */
  process: 'worker' | 'api'
  settings?: Record<string, string>
  /** The schedule that brings it out; nothing but load where left out. */
  expose?(field: Field, random: Random): Promise<void>
  /** The verdict has to name one of these. */
  caughtBy: Rule[]
}

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: 'no-fence',
    process: 'worker',
    statements: {
      'record-attempts': (text) =>
        replace(text, 'd.id = i.delivery_id AND d.claim = i.claim', 'd.id = i.delivery_id'),
    },
    // While a worker sleeps over its POSTs, the other one makes several attempts at the same deliveries. The
    // breaker would keep it from that if the endpoint seemed to be down.
    async expose({ receiver, workers, leaseMs }) {
      receiver.behave({ kind: 'answering', status: 422 })
      const hold = receiver.hold(20)
      await hold.held
      workers[0].signal('SIGSTOP')
      hold.release()
      await delay(leaseMs + 4_500)
      workers[0].signal('SIGCONT')
      await delay(300)
      receiver.behave({ kind: 'taking' })
    },
    caughtBy: ['attempts-disagree', 'lost'],
  },
  {
    name: 'attempts-not-idempotent',
    process: 'worker',
    statements: {
      'record-attempts': (text) =>
        replace(
          replace(
            text,
            'JOIN retried r ON r.id = i.delivery_id',
            'LEFT JOIN retried r ON r.id = i.delivery_id WHERE i.delivery_id NOT IN (SELECT id FROM ended)',
          ),
          'SELECT i.delivery_id, i.number,',
          `SELECT i.delivery_id,
            coalesce((SELECT max(number) FROM attempts_all WHERE delivery_id = i.delivery_id), 0) + 1,`,
        ),
    },
    // Commits whose answer is lost are made again.
    async expose({ proxy }, random) {
      for (let round = 0; round < 5; round++) {
        proxy.slow(100)
        // Long enough for new connections, which take several round trips; and not always at one time: claims
        // and commits fall into step with a slow database, and it would always be a claim.
        await delay(random.between(1_500, 2_000))
        await proxy.cut()
        proxy.slow(0)
        await proxy.restore()
        await delay(1_000)
      }
    },
    caughtBy: ['attempts-disagree'],
  },
  {
    name: 'no-sweep',
    process: 'worker',
    statements: { 'take-due': nothingDue },
    expose: faults('worker-killed-in-post', 'worker-killed-in-post'),
    caughtBy: ['lost'],
  },
  {
    name: 'stalled-zero',
    process: 'worker',
    // A job whose worker died is given up. The other options are those of production, made shorter than
    // this run and longer than its leases.
    statements: { 'take-due': nothingDue },
    workerOptions: { maxStalledCount: 0, lockDuration: 10_000, stalledInterval: 1_000 },
    expose: faults('worker-killed-in-post'),
    caughtBy: ['lost'],
  },
  {
    name: 'queue-trusted',
    process: 'api',
    // The sweep finds retries, and never what was not enqueued.
    statements: {
      'accept-messages': (text) =>
        replace(text, "now() + $10::int * interval '1 millisecond'", "now() + $10::int * interval '1 day'"),
    },
    expose: faults('api-killed-before-enqueue', 'api-killed-before-enqueue', 'api-killed-around-commit'),
    caughtBy: ['lost'],
  },
  {
    name: 'answered-before-commit',
    process: 'api',
    decorateAccept: answerBeforeCommit,
    expose: faults('api-killed-around-commit', 'postgres-killed', 'api-killed-around-commit'),
    caughtBy: ['lost'],
  },
  {
    name: 'id-ignored',
    process: 'api',
    decorateAccept: (accept) => ({
      ...accept,
      accept: ({ id: _, ...event }) => accept.accept(event),
    }),
    // The SDK emits again what was not answered.
    expose: faults('api-killed-around-commit', 'api-killed-around-commit'),
    caughtBy: ['unknown-id'],
  },
  {
    name: 'ended-before-attempt',
    process: 'worker',
    // At most once: what is claimed counts as delivered.
    statements: {
      ...everyClaim((text) =>
        replace(
          replace(
            replace(
              replace(
                text,
                /UPDATE deliveries_pending d\n[\s\S]*?\n {2}WHERE/,
                'DELETE FROM deliveries_pending d\n  WHERE',
              ),
              /RETURNING d\.id,[^\n]*\n\)/,
              `RETURNING d.*
              ), ended AS (
                INSERT INTO deliveries_ended (id, state, message_id, endpoint_id, owner_id, event_type, attempts, ended_at)
                SELECT id, 'delivered', message_id, endpoint_id, owner_id, event_type, attempts + 1, now() FROM touched
              )`,
            ),
            'd.due_at <= now()',
            'd.due_at <= now() AND $3::int > 0',
          ),
          'FROM touched WHERE claim IS NOT NULL',
          'FROM touched',
        ),
      ),
      'record-attempts': (text) => replace(text, 'JOIN retried r', 'LEFT JOIN retried r'),
    },
    expose: faults('worker-killed-in-post'),
    caughtBy: ['false-delivered'],
  },
  {
    name: 'lease-ignored',
    process: 'worker',
    statements: {
      'claim-deliveries': unheldToClaim,
      'claim-due': (text) => unheldToSweep(unheldToClaim(text)),
      'take-due': unheldToSweep,
    },
    settings: { POSTHORN_ATTEMPT_TIMEOUT: '12s', POSTHORN_LEASE: '20s' },
    // Slower than the sweep, faster than the deadline.
    async expose({ receiver }) {
      receiver.behave({ kind: 'taking', delayMs: 8_000 })
      await delay(1_500)
      receiver.behave({ kind: 'taking' })
      await delay(7_500)
    },
    caughtBy: ['too-many-duplicates'],
  },
  {
    name: 'result-dropped',
    process: 'worker',
    // One in ten.
    statements: {
      'record-attempts': (text) =>
        replace(
          text,
          "d.claim = i.claim AND i.state <> 'pending'",
          "d.claim = i.claim AND i.state <> 'pending' AND random() >= 0.1",
        ),
    },
    caughtBy: ['too-many-duplicates'],
  },
  {
    name: 'ended-not-inserted',
    process: 'worker',
    // Of what was retried.
    statements: {
      'record-attempts': (text) =>
        replace(text, 'FROM left_pending\n', 'FROM left_pending WHERE number = 1\n'),
    },
    expose: faults('receiver-failing'),
    caughtBy: ['vanished'],
  },
  {
    name: 'retry-forgotten',
    process: 'worker',
    statements: {
      'record-attempts': (text) => replace(text, /wake_at = now\(\) \+ CASE[^\n]*/, "wake_at = 'infinity'"),
    },
    expose: faults('receiver-failing'),
    caughtBy: ['lost'],
  },
  {
    name: 'breaker-burns-attempts',
    process: 'worker',
    // What is parked counts as attempted.
    statements: {
      ...everyClaim((text) =>
        replace(
          replace(text, 'due_at, wake_at) = (', 'due_at, wake_at, attempts) = ('),
          'FROM (SELECT) AS one',
          ', d.attempts + (h.endpoint_id IS NOT NULL)::int FROM (SELECT) AS one',
        ),
      ),
      'park-deliveries': (text) =>
        replace(text, 'SET claim = NULL', 'SET attempts = attempts + 1, claim = NULL'),
    },
    async expose({ receiver }) {
      receiver.behave({ kind: 'answering', status: 500 })
      await delay(2_000)
      receiver.behave({ kind: 'taking' })
    },
    caughtBy: ['attempts-disagree'],
  },
  {
    name: 'replay-doubles',
    process: 'worker',
    // What is replayed becomes a new delivery and stays what it was, so that whoever asks again gets it again.
    statements: {
      'release-ended': (text) =>
        replace(
          replace(
            replace(
              text,
              'DELETE FROM deliveries_ended d USING found f WHERE d.id = f.id RETURNING d.*',
              'SELECT d.* FROM deliveries_ended d JOIN found f ON f.id = d.id',
            ),
            'FROM reopened WHERE outcome IS NOT NULL',
            'FROM reopened WHERE false',
          ),
          "SELECT id, 'pending', message_id, endpoint_id, owner_id, event_type, attempts, attempts",
          `SELECT ${newDeliveryId('message_id')}, 'pending', message_id, endpoint_id, owner_id, event_type, 0, 0`,
        ),
    },
    expose: faults('endpoint-disabled'),
    caughtBy: ['doubled'],
  },
  {
    name: 'payload-serialised-again',
    process: 'worker',
    statements: {
      ...everyClaim((text) =>
        replace(
          text,
          'SELECT m.payload',
          `SELECT convert_to(convert_from(m.payload, 'UTF8')::jsonb::text, 'UTF8')`,
        ),
      ),
    },
    caughtBy: ['altered'],
  },
  {
    name: 'signed-with-another-secret',
    process: 'worker',
    // A secret that is read for another endpoint cannot be opened: the mistake would be made after that.
    decorateVault: (vault) => ({
      ...vault,
      unwrap(ownerId, wrapped) {
        const key = vault.unwrap(ownerId, wrapped)
        return { ...key, open: (place, sealed) => Buffer.from(key.open(place, sealed)).reverse() }
      },
    }),
    caughtBy: ['unverified'],
  },
]

/** One each of: a result, an acknowledgement, a retry, the bytes. */
export const quickBugs: readonly string[] = [
  'no-fence',
  'answered-before-commit',
  'no-sweep',
  'payload-serialised-again',
]

export function findPlantedBug(name: string | undefined): PlantedBug {
  const bug = plantedBugs.find((planted) => planted.name === name)
  if (bug === undefined) throw new Error(`There is no planted bug ${name}.`)
  return bug
}

/** In the log of a program whose statement was changed since the bug was written for it. */
export const MISFIT = 'A planted bug does not fit any more'

/** A statement that was changed since must not make a bug harmless without a word. */
function replace(text: string, part: string | RegExp, by: string): string {
  const found = typeof part === 'string' ? text.includes(part) : part.test(text)
  if (!found) throw new Error(`${MISFIT}: there is no ${part}`)
  return typeof part === 'string' ? text.replaceAll(part, by) : text.replace(part, by)
}

/** Of `take-due`: the sweep finds nothing. */
function nothingDue(text: string): string {
  return replace(text, 'LIMIT $1', 'LIMIT 0 * $1::int')
}

function unheldToClaim(text: string): string {
  return replace(text, 'AND (d.lease_until IS NULL OR d.lease_until <= now() OR d.claim = $2)', '')
}

function unheldToSweep(text: string): string {
  return replace(text, 'AND (lease_until IS NULL OR lease_until <= now())', '')
}

/** A claim by ids, and one of a backlog. */
function everyClaim(change: (text: string) => string): NonNullable<PlantedBug['statements']> {
  return { 'claim-deliveries': change, 'claim-due': change }
}

function faults(...names: string[]): (field: Field, random: Random) => Promise<void> {
  return async (field, random) => {
    for (const name of names) {
      const fault = allFaults.find((one) => one.name === name)
      await fault!.inject(field, random)
      await delay(500)
    }
  }
}

/** Knows from the first answers for an owner and a type what the later ones will be, and does not wait. */
function answerBeforeCommit(accept: Accept): Accept {
  const first = new Map<string, AcceptedMessage>()
  return {
    ...accept,
    async accept(event) {
      const name = `${event.owner} ${event.type}`
      const result = accept.accept(event)
      const known = first.get(name)
      if (known === undefined || event.id === undefined) {
        const answer = await result
        if (answer.kind === 'accepted') first.set(name, answer.message)
        return answer
      }
      result.catch(() => {})
      return { kind: 'accepted', again: false, message: { ...known, id: decodeId('msg', event.id)! } }
    },
  }
}

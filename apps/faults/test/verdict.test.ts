import { describe, expect, it } from 'vitest'
import { type Emitted, judge, type Received, type Recorded, type Rule } from '../src/verdict.ts'

const OPTIONS = { duplicatesPer10kMax: 50, overdueMaxMs: 30_000 }

const emitted = (change: Partial<Emitted> = {}): Emitted => ({
  id: 'msg_1',
  answer: 'accepted',
  endpoints: ['ep_1'],
  deliveries: 1,
  ...change,
})
const received = (change: Partial<Received> = {}): Received => ({
  id: 'msg_1',
  endpoint: 'ep_1',
  posts: 1,
  taken: 1,
  answered: 1,
  unverified: 0,
  altered: 0,
  ...change,
})
const recorded = (change: Partial<Recorded> = {}): Recorded => ({
  id: 'msg_1',
  endpoint: 'ep_1',
  state: 'delivered',
  attempts: 1,
  logged: 1,
  unanswered: 0,
  lastOutcome: 'delivered',
  overdueMs: undefined,
  ...change,
})

interface Case {
  title: string
  emitted?: Emitted[]
  received?: Received[]
  recorded?: Recorded[]
  finds: Rule[]
}

const cases: Case[] = [
  { title: 'acknowledged, received and recorded as delivered is in order', finds: [] },
  {
    title: 'acknowledged, recorded as delivered and not received is lost, and the record is false',
    received: [],
    finds: ['lost', 'false-delivered'],
  },
  {
    title: 'a POST that was refused is not received',
    received: [received({ taken: 0, answered: 0 })],
    recorded: [recorded({ state: 'pending', lastOutcome: 'rejected', overdueMs: 100 })],
    finds: ['lost'],
  },
  {
    title: 'a POST whose sender was gone before the answer has to come again',
    received: [received({ answered: 0 })],
    recorded: [recorded({ state: 'pending', attempts: 0, logged: 0, lastOutcome: undefined, overdueMs: 1 })],
    finds: ['lost'],
  },
  ...['dead', 'cancelled', 'skipped'].map((state) => ({
    title: `not received and visibly ${state} is not lost`,
    received: [],
    recorded: [recorded({ state, lastOutcome: 'rejected' })],
    finds: [],
  })),
  {
    title: 'acknowledged and in no table has vanished, be it received',
    recorded: [],
    finds: ['vanished'],
  },
  {
    title: 'every endpoint that matched counts',
    emitted: [emitted({ endpoints: ['ep_1', 'ep_2'], deliveries: 2 })],
    finds: ['vanished', 'lost'],
  },
  {
    title: 'an answer that names another number of deliveries is wrong',
    emitted: [emitted({ deliveries: 2 })],
    finds: ['wrong-fan-out'],
  },
  {
    title: 'an emit that failed owes nothing',
    emitted: [emitted({ answer: 'timeout', deliveries: undefined })],
    received: [],
    recorded: [],
    finds: [],
  },
  {
    title: 'an emit that failed may have been accepted all the same',
    emitted: [emitted({ answer: 'timeout', deliveries: undefined })],
    finds: [],
  },
  {
    title: 'what nobody emitted is unknown, where it is received and where it is recorded',
    emitted: [],
    finds: ['unknown-id', 'unknown-id'],
  },
  {
    title: 'a signature that does not verify is found',
    received: [received({ unverified: 1 })],
    finds: ['unverified'],
  },
  { title: 'other bytes are found', received: [received({ altered: 1 })], finds: ['altered'] },
  {
    title: 'pending without a due time is stuck',
    received: [received()],
    recorded: [recorded({ state: 'pending', attempts: 0, logged: 0, lastOutcome: undefined })],
    finds: ['stuck'],
  },
  {
    title: 'due for long is stuck',
    recorded: [recorded({ state: 'pending', attempts: 0, logged: 0, overdueMs: 30_001 })],
    finds: ['stuck'],
  },
  {
    title: 'due later is not stuck',
    recorded: [recorded({ state: 'pending', attempts: 0, logged: 0, overdueMs: -60_000 })],
    finds: [],
  },
  {
    title: 'a second delivery of a message to an endpoint is doubled, and to another it is not',
    recorded: [recorded(), recorded(), recorded({ endpoint: 'ep_2', state: 'skipped' })],
    finds: ['doubled'],
  },
  {
    title: 'more rows in the log than attempts do not agree',
    recorded: [recorded({ logged: 2 })],
    finds: ['attempts-disagree'],
  },
  {
    title: 'delivered after an attempt that was not does not agree',
    recorded: [recorded({ lastOutcome: 'rejected' })],
    finds: ['attempts-disagree'],
  },
]

describe('the verdict', () => {
  it.each(cases)('$title', (row) => {
    const verdict = judge(
      row.emitted ?? [emitted()],
      row.received ?? [received()],
      row.recorded ?? [recorded()],
      OPTIONS,
    )
    expect(verdict.findings.map(({ rule }) => rule).sort()).toEqual([...row.finds].sort())
  })

  it('counts a delivery as lost once, by whatever rules', () => {
    expect(judge([emitted({ endpoints: ['ep_1', 'ep_2'], deliveries: 2 })], [], [], OPTIONS)).toMatchObject({
      acknowledged: 2,
      lost: 2,
    })
  })

  it('tells duplicates apart that follow an attempt without an answer', () => {
    const judged = (unanswered: number) =>
      judge(
        [emitted()],
        [received({ taken: 3 })],
        [recorded({ attempts: 3, logged: 3, unanswered })],
        OPTIONS,
      )
    expect(judged(0)).toMatchObject({ duplicates: 2, duplicatesUnanswered: 0 })
    expect(judged(1)).toMatchObject({ duplicates: 2, duplicatesUnanswered: 1 })
    expect(judged(9)).toMatchObject({ duplicates: 2, duplicatesUnanswered: 2 })
  })

  it('forgives 50 duplicates in 10,000 deliveries and no more', () => {
    const ids = Array.from({ length: 200 }, (_, at) => `msg_${at}`)
    const judged = (duplicates: number) =>
      judge(
        ids.map((id) => emitted({ id })),
        ids.map((id, at) => received({ id, taken: at < duplicates ? 2 : 1 })),
        ids.map((id) => recorded({ id })),
        OPTIONS,
      )
    expect(judged(1)).toMatchObject({ acknowledged: 200, lost: 0, duplicates: 1, findings: [] })
    expect(judged(2)).toMatchObject({ duplicates: 2, findings: [{ rule: 'too-many-duplicates' }] })
  })
})

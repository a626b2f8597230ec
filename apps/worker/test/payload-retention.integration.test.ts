import { EMIT_JOB, EMIT_QUEUE, type EmitJob, encodeId, lowestId, newUuid } from '@posthorn/contracts'
import { findMessage } from '@posthorn/store'
import { describeEachBackend } from '@posthorn/testkit'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EVENT_TYPE, startTestPlatform, type TestPlatform } from './test-platform.ts'

const DAY_MS = 86_400_000
const CANARY = 'canary-of-a-payload'
const PATIENCE = { timeout: 60_000, interval: 50 }

describeEachBackend((backend) => {
  let platform: TestPlatform

  beforeEach(async () => {
    platform = await startTestPlatform(backend)
    await platform.addOwner('acme')
  })
  afterEach(() => platform.close())

  const messages = async () => await platform.store.prisma.message.findMany({ orderBy: { id: 'asc' } })
  /** Accepted as long ago as its id says. */
  async function emitOld(agoMs: number): Promise<string> {
    const id = `${lowestId(Date.now() - agoMs).slice(0, 14)}7${newUuid().slice(15)}`
    const { pool } = platform.store
    await pool.query(
      `INSERT INTO messages (id, owner_id, event_type, "timestamp", deliveries, payload)
       SELECT $1, id, $2, now(), 0, $3 FROM owners`,
      [id, EVENT_TYPE, Buffer.from(CANARY)],
    )
    return id
  }

  test('a worker expunges what is older than its retention, and nothing else', async () => {
    const old = [await emitOld(DAY_MS + 3_600_000), await emitOld(DAY_MS + 60_000)]
    const young = [await emitOld(DAY_MS - 600_000), await emitOld(0)]
    platform.startWorker({ payloadRetentionMs: DAY_MS })
    await expect
      .poll(
        async () => (await messages()).filter(({ expungedAt }) => expungedAt).map(({ id }) => id),
        PATIENCE,
      )
      .toEqual(old)
    for (const id of young) {
      expect((await findMessage(platform.store.pool, id))!.payload.toString()).toBe(CANARY)
    }
  })

  test('a job that cannot be accepted keeps no payload in the queue', async () => {
    platform.startWorker()
    const queue = platform.backend.createQueue<EmitJob>(EMIT_QUEUE)
    try {
      const data = JSON.stringify(CANARY)
      const accepted = encodeId('msg', newUuid())
      const job = await queue.add(EMIT_JOB, {
        messages: [
          { id: accepted, owner: 'acme', type: EVENT_TYPE, data },
          { id: 'of-nobody', owner: 'nobody', type: EVENT_TYPE, data },
        ],
      })
      await expect
        .poll(async () => (await queue.getFailed()).map(({ failedReason }) => failedReason), PATIENCE)
        .toEqual(['of-nobody: unknown_owner'])
      const kept = await queue.getJob(job.id!)
      expect(kept!.data.messages.map(({ id }) => id)).toEqual([accepted, 'of-nobody'])
      expect(JSON.stringify(kept)).not.toContain('canary')
      expect((await messages()).map(({ payload }) => Buffer.from(payload).toString())).toEqual([
        expect.stringContaining(CANARY),
      ])
    } finally {
      await queue.close()
    }
  })
})

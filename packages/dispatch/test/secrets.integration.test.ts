import { createVault, masterKeyId, rewrapOwnerKeys, rotateSecret, updateEndpoint } from '@posthorn/store'
import { describeEachBackend, type Receiver, startReceiver, TEST_MASTER_KEY } from '@posthorn/testkit'
import { Webhook } from 'standardwebhooks'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type DeliveryPath, startDeliveryPath } from './start-delivery-path.ts'

const TYPE = 'pay_info.paid'
const NEW_MASTER_KEY = Buffer.alloc(32, 2)
const NEW_SECRET = Buffer.alloc(32, 9)
const PATIENCE = { timeout: 60_000, interval: 50 }

describeEachBackend((backend) => {
  let path: DeliveryPath
  let receiver: Receiver
  let ownerId: string

  beforeEach(async () => {
    path = await startDeliveryPath(backend)
    receiver = await startReceiver()
    await path.addEventTypes(TYPE)
    ownerId = await path.addOwner('acme')
  })
  afterEach(async () => {
    await path.close()
    await receiver.close()
  })

  async function emit(count = 1): Promise<void> {
    for (let n = 0; n < count; n++) {
      const { kind } = await path.accept.accept({
        owner: 'acme',
        type: TYPE,
        data: Buffer.from(`{"n":${n}}`),
      })
      expect(kind).toBe('accepted')
    }
  }

  async function received(count: number) {
    await expect.poll(() => receiver.requests.length, PATIENCE).toBe(count)
    return receiver.requests.at(-1)!
  }

  /** Which of the secrets the receiver could verify it with. */
  function verifiedBy({ body, headers }: (typeof receiver.requests)[number], secrets: string[]): boolean[] {
    return secrets.map((secret) => {
      try {
        new Webhook(secret).verify(body.toString(), headers as Record<string, string>)
        return true
      } catch {
        return false
      }
    })
  }

  const access = () => ({ prisma: path.store.prisma, vault: path.vault })
  const makeDueNow = () =>
    path.store.pool.query('UPDATE deliveries_pending SET due_at = now(), wake_at = now() WHERE claim IS NULL')

  test('while a secret is rotated both sign, and afterwards the new one alone', async () => {
    const { id, secret: oldSecret } = await path.addEndpoint(ownerId, receiver.url, [TYPE])
    const secrets = [oldSecret, `whsec_${NEW_SECRET.toString('base64')}`]
    path.startDelivering()
    await emit()
    expect(verifiedBy(await received(1), secrets)).toEqual([true, false])

    expect(await rotateSecret(access(), { ownerId, id }, NEW_SECRET, 3_600)).toMatchObject({
      kind: 'rotated',
    })
    await emit()
    const both = await received(2)
    expect(verifiedBy(both, secrets)).toEqual([true, true])
    expect(both.headers['webhook-signature']).toMatch(/^v1,\S+ v1,\S+$/)

    // The copy that the worker keeps ends with the overlap, although no row changes.
    await path.store.pool.query(
      `UPDATE endpoint_secrets SET expires_at = now() + interval '2 seconds' WHERE expires_at IS NOT NULL`,
    )
    await path.store.pool.query('UPDATE endpoints SET updated_at = now()')
    await emit()
    expect(verifiedBy(await received(3), secrets)).toEqual([true, true])
    await expect
      .poll(async () => {
        const { rows } = await path.store.pool.query(
          'SELECT count(*)::int AS n FROM endpoint_secrets WHERE expires_at > now()',
        )
        return rows[0].n
      }, PATIENCE)
      .toBe(0)
    await emit()
    expect(verifiedBy(await received(4), secrets)).toEqual([false, true])
  })

  test('without an overlap the old secret signs nothing more', async () => {
    const { id, secret: oldSecret } = await path.addEndpoint(ownerId, receiver.url, [TYPE])
    path.startDelivering()
    await rotateSecret(access(), { ownerId, id }, NEW_SECRET, 0)
    await emit()
    const secrets = [oldSecret, `whsec_${NEW_SECRET.toString('base64')}`]
    expect(verifiedBy(await received(1), secrets)).toEqual([false, true])
  })

  test('a secret header reaches the receiver, and a change of it counts from the next delivery on', async () => {
    const { id } = await path.addEndpoint(ownerId, receiver.url, [TYPE])
    const headers = { 'x-tenant': 'acme', authorization: { value: 'Bearer one', secret: true as const } }
    await updateEndpoint(access(), { ownerId, id }, { headers })
    path.startDelivering()
    await emit()
    expect((await received(1)).headers).toMatchObject({ 'x-tenant': 'acme', authorization: 'Bearer one' })
    await updateEndpoint(access(), { ownerId, id }, { headers: { authorization: { secret: true } } })
    await emit()
    const kept = await received(2)
    expect(kept.headers).toMatchObject({ authorization: 'Bearer one' })
    expect(kept.headers).not.toHaveProperty('x-tenant')
  })

  test('what cannot be decrypted waits, without an attempt, until a worker has the master key', async () => {
    await path.addEndpoint(ownerId, receiver.url, [TYPE])
    path.startDelivering({ vault: createVault([NEW_MASTER_KEY]) })
    await emit(3)
    const waiting = async () =>
      (
        await path.store.pool.query(
          `SELECT attempts FROM deliveries_pending WHERE claim IS NULL AND due_at > now() + interval '10 seconds'`,
        )
      ).rows
    await expect.poll(waiting, PATIENCE).toEqual(Array(3).fill({ attempts: 0 }))
    expect(receiver.requests).toEqual([])
    path.startDelivering({ vault: createVault([NEW_MASTER_KEY, Buffer.from(TEST_MASTER_KEY, 'base64')]) })
    await expect
      .poll(async () => {
        await makeDueNow()
        return receiver.requests.length
      }, PATIENCE)
      .toBe(3)
    const recorded = async () => (await path.store.pool.query('SELECT state, attempts FROM deliveries')).rows
    await expect.poll(recorded, PATIENCE).toEqual(Array(3).fill({ state: 'delivered', attempts: 1 }))
  })

  test('the master key is replaced in the middle of deliveries', async () => {
    const count = 60
    const { secret } = await path.addEndpoint(ownerId, receiver.url, [TYPE])
    const oldKey = Buffer.from(TEST_MASTER_KEY, 'base64')
    path.startDelivering({ vault: createVault([oldKey, NEW_MASTER_KEY]) })
    await emit(count / 3)
    const both = createVault([NEW_MASTER_KEY, oldKey])
    const [, rewrapped] = await Promise.all([emit(count / 3), rewrapOwnerKeys(path.store.pool, both)])
    expect(rewrapped).toEqual({ rewrapped: 1, unreadable: 0 })
    // The one that has the new key alone, as after the last step.
    path.startDelivering({ vault: createVault([NEW_MASTER_KEY]) })
    await path.store.pool.query('UPDATE endpoints SET updated_at = now()')
    await emit(count / 3)
    await received(count)
    for (const request of receiver.requests) expect(verifiedBy(request, [secret])).toEqual([true])
    const { rows } = await path.store.pool.query('SELECT DISTINCT master_key_id AS id FROM owner_keys')
    expect(rows).toEqual([{ id: masterKeyId(NEW_MASTER_KEY) }])
  })
})

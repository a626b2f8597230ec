import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { encodeId } from '@posthorn/contracts'
import { findMessage, listDeliveries } from '@posthorn/store'
import { describeEachBackend, startReceiver } from '@posthorn/testkit'
import { Webhook } from 'standardwebhooks'
import { expect, onTestFinished, test } from 'vitest'
import { startDeliveryPath } from './start-delivery-path.ts'

interface Example {
  name: string
  examples: unknown[]
}

/** What github.com and each version of GitHub Enterprise Server send, one entry a payload. */
const emits = readExamples().flatMap(({ name, examples }) =>
  examples.map((payload) => ({ type: `github.${name}`, data: Buffer.from(JSON.stringify(payload)) })),
)

function readExamples(): Example[] {
  const require = createRequire(import.meta.url)
  const manifest = require.resolve('@octokit/webhooks-examples/package.json')
  return readdirSync(dirname(manifest))
    .map((product) => join(dirname(manifest), product, 'index.json'))
    .filter((path) => existsSync(path))
    .flatMap((path) => JSON.parse(readFileSync(path, 'utf8')) as Example[])
}

describeEachBackend((backend) => {
  test('every payload of GitHub arrives byte for byte as stored, and standardwebhooks verifies it', async () => {
    expect(emits.length).toBeGreaterThan(700)
    const path = await startDeliveryPath(backend)
    onTestFinished(() => path.close())
    const receiver = await startReceiver()
    onTestFinished(() => receiver.close())
    const types = [...new Set(emits.map(({ type }) => type))]
    await path.addEventTypes(...types)
    const { secret } = await path.addEndpoint(await path.addOwner('github'), receiver.url, types)
    path.startDelivering()

    const sent = await Promise.all(
      emits.map(async ({ type, data }) => {
        const accepted = await path.accept.accept({ owner: 'github', type, data })
        if (accepted.kind !== 'accepted') throw new Error(`${type} was not accepted: ${accepted.kind}`)
        return { type, data, uuid: accepted.message.id }
      }),
    )
    await receiver.waitFor(emits.length)
    const requestOf = new Map(receiver.requests.map((request) => [request.headers['webhook-id'], request]))
    expect(requestOf.size).toBe(emits.length)

    const webhook = new Webhook(secret)
    for (const { type, data, uuid } of sent) {
      const request = requestOf.get(encodeId('msg', uuid))!
      const stored = (await findMessage(path.store.pool, uuid))!
      expect(request.body.equals(stored.payload)).toBe(true)
      const { timestamp } = stored
      expect(
        request.body.equals(
          Buffer.concat([
            Buffer.from(`{"type":"${type}","timestamp":"${timestamp.toISOString()}","data":`),
            data,
            Buffer.from('}'),
          ]),
        ),
      ).toBe(true)
      expect(webhook.verify(request.body, request.headers as Record<string, string>)).toEqual({
        type,
        timestamp: timestamp.toISOString(),
        data: JSON.parse(data.toString()),
      })
    }
    await expect
      .poll(
        async () =>
          (await listDeliveries(path.store.pool, { state: 'delivered' }, { limit: 1_000 })).items.length,
      )
      .toBe(emits.length)
  })
})

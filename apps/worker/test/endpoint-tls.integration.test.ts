import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { updateEndpoint } from '@posthorn/store'
import { describeEachBackend } from '@posthorn/testkit'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { EVENT_TYPE, startTestPlatform, type TestPlatform } from './test-platform.ts'

const fixture = (name: string) =>
  readFileSync(new URL(`../../../packages/egress/test/fixtures/${name}.pem`, import.meta.url), 'utf8')
const [certificate, key] = [fixture('localhost-cert'), fixture('localhost-key')]

describeEachBackend((backend) => {
  let platform: TestPlatform
  beforeAll(async () => {
    platform = await startTestPlatform(backend)
  })
  afterAll(() => platform.close())

  it('an endpoint is trusted by its own CA and shown its own certificate', async () => {
    const shown: string[] = []
    const server = createServer(
      { cert: certificate, key, ca: certificate, requestCert: true, rejectUnauthorized: true },
      (request, response) => {
        shown.push((request.socket as TLSSocket).getPeerCertificate().subject.CN as string)
        response.end()
      },
    )
    await once(server.listen(0, '127.0.0.1'), 'listening')
    try {
      const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`
      const ownerId = await platform.addOwner('acme')
      const endpoint = await platform.addEndpoint(ownerId, url)
      const bare = await platform.addEndpoint(ownerId, url)
      const tls = { ca: certificate, certificate, key }
      await updateEndpoint(
        { prisma: platform.store.prisma, vault: platform.vault },
        { ownerId, id: endpoint.id },
        { tls },
      )
      platform.startWorker()
      await platform.emit(EVENT_TYPE, {})
      const states = async () =>
        Object.fromEntries((await platform.deliveries()).map((one) => [one.endpointId, one]))
      await expect.poll(async () => (await states())[endpoint.id]?.state).toBe('delivered')
      expect(shown).toEqual(['Posthorn test'])
      // Without a CA of its own the same server is a stranger.
      await expect.poll(async () => (await states())[bare.id]?.attempts).toBe(1)
      expect((await states())[bare.id]?.state).toBe('pending')
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})

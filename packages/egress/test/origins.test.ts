import { Pool } from 'undici'
import { afterEach, expect, test } from 'vitest'
import { Exchange } from '../src/exchange.ts'
import type { PostOutcome } from '../src/index.ts'
import { createOrigins, type Origin } from '../src/origins.ts'
import { answer, type RawServer, startRawServer } from './raw-server.ts'

const servers: RawServer[] = []

afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})

test('an origin goes when its last connection has closed', async () => {
  const origins = createOrigins({ originsMax: 10, createPool: (origin) => new Pool(origin) })
  const server = await serve()
  await use(origins.take(originOf(server)))
  expect(origins.size).toBe(1)
  for (const socket of server.open) socket.destroy()
  await expect.poll(() => origins.size).toBe(0)
})

test('an origin that cannot be connected to goes as well', async () => {
  const origins = createOrigins({ originsMax: 10, createPool: (origin) => new Pool(origin) })
  const server = await serve()
  await server.close()
  servers.length = 0
  expect(await use(origins.take(originOf(server)))).toMatchObject({ kind: 'failed' })
  await expect.poll(() => origins.size).toBe(0)
})

test('above the limit the least recently used idle origin goes; those in use stay', async () => {
  const origins = createOrigins({ originsMax: 3, createPool: (origin) => new Pool(origin) })
  const [used, busy, idle, fourth, fifth, sixth] = await Promise.all(Array.from({ length: 6 }, serve))
  await use(origins.take(originOf(used!)))
  const busyOrigin = origins.take(originOf(busy!))
  busyOrigin.inFlight = 1
  await use(origins.take(originOf(idle!)))
  await use(origins.take(originOf(used!)))

  await use(origins.take(originOf(fourth!)))
  expect(origins.size).toBe(3)
  await expect.poll(() => idle!.open.size).toBe(0)
  expect(used!.open.size).toBe(1)
  expect(origins.take(originOf(busy!))).toBe(busyOrigin)

  // All three in use: a further one is taken all the same, since a delivery must not fail for it.
  for (const server of [used, fourth]) origins.take(originOf(server!)).inFlight = 1
  origins.take(originOf(fifth!)).inFlight = 1
  origins.take(originOf(sixth!))
  expect(origins.size).toBe(5)
  await origins.close()
  expect(origins.size).toBe(0)
})

async function serve(): Promise<RawServer> {
  const server = await startRawServer((socket) => socket.write(answer(200)))
  servers.push(server)
  return server
}

function originOf(server: RawServer): string {
  return new URL(server.url).origin
}

function use(origin: Origin): Promise<PostOutcome> {
  return new Promise((resolve) => {
    origin.inFlight += 1
    const exchange = new Exchange({
      responseBytesMax: 0,
      takeConnectTimings: () => undefined,
      onOutcome: (outcome) => {
        origin.inFlight -= 1
        resolve(outcome)
      },
    })
    origin.pool.dispatch({ path: '/', method: 'POST', body: 'x' }, exchange)
  })
}

import { platformNodeOptions, type Receiver, spawnNode } from '@posthorn/testkit'

/** `posthorn start` of one checkout on one data folder, with a database of its own in there. */
export interface EmbeddedPlatform {
  /** Its command line program. */
  cli: string
  dataDir: string
  receiver: Receiver
}

const READY = /^Posthorn is ready: +(\S+)$/
const API_KEY = 'phk_bench_0123456789abcdef'
const OWNER = 'acme'
const TYPE = 'bench.event'

/** @returns milliseconds from the start of the process to the first POST; with all registering, if it is new */
export async function timeFirstDelivery(platform: EmbeddedPlatform, isNew: boolean): Promise<number> {
  const { cli, dataDir, receiver } = platform
  const receivedBefore = receiver.requests.length
  const startedAtMs = performance.now()
  const posthorn = spawnNode(cli, ['start'], {
    env: {
      ...{ DATABASE_URL: undefined, REDIS_URL: undefined, POSTHORN_DATA_DIR: dataDir, POSTHORN_PORT: '0' },
      ...{
        NODE_OPTIONS: platformNodeOptions(),
        POSTHORN_API_KEY: API_KEY,
        POSTHORN_EGRESS_ALLOW: '127.0.0.0/8',
      },
    },
  })
  try {
    const url = (await posthorn.waitForLine(READY, 60_000))[1]!
    if (isNew) {
      await post(url, '/v1/event-types', { name: TYPE })
      await post(url, '/v1/owners', { uid: OWNER })
      await post(url, `/v1/owners/${OWNER}/endpoints`, { url: receiver.url, eventTypes: [TYPE] })
    }
    await post(url, '/v1/messages', { owner: OWNER, type: TYPE, data: { order_num: '1' } })
    await receiver.waitFor(receivedBefore + 1)
    return performance.now() - startedAtMs
  } finally {
    await posthorn.stop()
  }
}

async function post(url: string, path: string, body: object): Promise<void> {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
}

// Posts signed deliveries of 1 KB with the guards, as a worker does, and without any, in turns, and prints the CPU
// of each: node cost-of-posts.ts <url> <rounds> <posts in a round>
//
// Without: a pool of undici with its own connector and limits, the same signature and headers, and a handler that
// takes what comes. So the difference has the guards and whatever else packages/egress does: timings, outcomes.
import { createEgressPolicy, createPost } from '@posthorn/egress'
import { createLogger, parseSettings } from '@posthorn/runtime'
import { createSigningKey, signedHeaders } from '@posthorn/signing'
import { Pool } from 'undici'

const IN_FLIGHT = 32
const FIXED = ['accept', '*/*', 'accept-encoding', 'identity', 'user-agent', 'Posthorn/0']
const WARM_UP_ROUNDS = 3
const [url = '', rounds = '', posts = ''] = process.argv.slice(2)
const settings = parseSettings(process.env)
const keys = [createSigningKey(Buffer.alloc(32, 7))]
const body = Buffer.from(`{"type":"abuse.cost","data":"${'x'.repeat(995)}"}`)
const guarded = createPost({
  ...createEgressPolicy(settings, createLogger({ level: 'error', name: 'abuse' })),
  connectTimeoutMs: settings.connectTimeoutMs,
  attemptTimeoutMs: settings.attemptTimeoutMs,
  userAgent: 'Posthorn/0',
})
const target = new URL(url)
const plain = new Pool(target.origin, {
  ...{ connections: 128, pipelining: 1, allowH2: false },
  ...{ keepAliveTimeout: 4_000, headersTimeout: 0, bodyTimeout: 0 },
})

let made = 0
function headers(): Record<string, string> {
  made += 1
  const id = `msg_${String(made).padStart(26, '0')}`
  const timestampS = Math.floor(Date.now() / 1_000)
  return { 'content-type': 'application/json', ...signedHeaders({ id, timestampS, body, keys }) }
}

async function postGuarded(): Promise<void> {
  const outcome = await guarded.post({ url, headers: headers(), body })
  if (outcome.kind === 'failed' || outcome.status !== 204)
    throw new Error(`It was not taken: ${outcome.kind}`)
}

function postPlain(): Promise<void> {
  return new Promise((resolve, reject) => {
    let status = 0
    plain.dispatch(
      {
        ...{ path: target.pathname, method: 'POST', body },
        // Names and values in turn, as undici takes them fastest.
        headers: [...FIXED, ...Object.entries(headers()).flat()],
      },
      {
        onRequestStart: () => {},
        onResponseStart: (_controller, code) => {
          status = code
        },
        onResponseData: () => {},
        onResponseEnd: () => (status === 204 ? resolve() : reject(new Error(`It was not taken: ${status}`))),
        onResponseError: (_controller, error) => reject(error),
      },
    )
  })
}

/** Microseconds of CPU of one. */
async function cpuOf(post: () => Promise<void>): Promise<number> {
  const count = Number(posts)
  let begun = 0
  const before = process.cpuUsage()
  const one = async () => {
    while (begun < count) {
      begun += 1
      await post()
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, one))
  const { user, system } = process.cpuUsage(before)
  return (user + system) / count
}

const measured: { guardedUs: number; plainUs: number }[] = []
for (let round = -WARM_UP_ROUNDS; round < Number(rounds); round++) {
  // Who begins takes turns, too.
  const first = round % 2 === 0 ? await cpuOf(postGuarded) : undefined
  const plainUs = await cpuOf(postPlain)
  const guardedUs = first ?? (await cpuOf(postGuarded))
  if (round >= 0) measured.push({ guardedUs, plainUs })
}
process.stdout.write(JSON.stringify(measured))
await Promise.all([guarded.close(), plain.close()])

// Posts to a URL as a worker with these settings does, and prints what came of it: node post-once.ts <url>
import { createEgressPolicy, createPost } from '@posthorn/egress'
import { createLogger, parseSettings } from '@posthorn/runtime'

const settings = parseSettings(process.env)
const { connectTimeoutMs, attemptTimeoutMs } = settings
const { post, close } = createPost({
  ...createEgressPolicy(settings, createLogger({ level: 'error', name: 'abuse' })),
  ...{ connectTimeoutMs, attemptTimeoutMs },
})
const outcome = await post({ url: process.argv[2]!, headers: {}, body: Buffer.from('{}') })
process.stdout.write(outcome.kind === 'failed' ? outcome.code : String(outcome.status))
await close()

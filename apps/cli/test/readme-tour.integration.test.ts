import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort, type NodeProcess, spawnNode } from '@posthorn/testkit'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const PATIENCE = { timeout: 30_000, interval: 100 }

let dataDir: string
let port: number
let receiverPort: number
let terminal: Terminal
let programs: NodeProcess[] = []

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'posthorn-tour-'))
  // As root the database runs as another user, who has to pass through.
  chmodSync(dataDir, 0o711)
  port = await freePort()
  receiverPort = await freePort()
  terminal = openTerminal()
})

afterAll(async () => {
  terminal?.close()
  await Promise.all(programs.map((program) => program.stop()))
  rmSync(dataDir, { recursive: true, force: true })
})

test('the tour in README.md works when its commands are pasted one after another', async () => {
  const commands = tourCommands()
  expect(commands).toHaveLength(11)
  const [start, listen, variables, register, emit, list, attempts, emitAgain, listenAgain, retry, misspelt] =
    commands as [string, string, string, string, string, string, string, string, string, string, string]

  const platform = await run(start)
  await platform.waitForLine(/^Posthorn is ready: /)
  const receiver = await run(listen)
  await receiver.waitForLine(/^Listening on /)

  await terminal.paste(variables)
  const [eventType, owner, endpoint] = lines(await terminal.paste(register))
  expect(JSON.parse(eventType!)).toMatchObject({ name: 'pay_info.paid' })
  expect(JSON.parse(owner!)).toMatchObject({ uid: 'acme' })
  expect(JSON.parse(endpoint!)).toMatchObject({ uid: 'receiver', secret: expect.stringMatching(/^whsec_/) })

  const [message, status] = lines(await terminal.paste(emit))
  expect(status).toBe('202')
  const { id } = JSON.parse(message!) as { id: string }
  await receiver.waitForLine(new RegExp(`^POST /hooks  ${id}  -> 200$`))

  const delivered = await vi.waitFor(async () => {
    const { data } = JSON.parse(await terminal.paste(list)) as { data: Record<string, unknown>[] }
    expect(data).toMatchObject([{ message: id, state: 'delivered', attempts: 1 }])
    return data[0]!
  }, PATIENCE)
  expect(JSON.parse(await terminal.paste(attempts))).toMatchObject({
    data: [{ number: 1, outcome: 'delivered', status: 200 }],
  })

  await receiver.stop()
  const [, statusAgain, pending] = lines(await terminal.paste(emitAgain))
  expect(statusAgain).toBe('202')
  expect(JSON.parse(pending!)).toMatchObject({ data: [{ state: 'pending' }] })

  const verifying = await run(listenAgain)
  await verifying.waitForLine(/^POST \/hooks {2}msg_\w+ {2}-> 200 {2}signature verified$/)
  await vi.waitFor(async () => {
    const { data } = JSON.parse(await terminal.paste(list)) as { data: Record<string, unknown>[] }
    expect(data).toMatchObject([{ state: 'delivered', attempts: 2 }, { id: delivered.id }])
  }, PATIENCE)

  const [, statusOfRetry] = lines(await terminal.paste(retry))
  expect(statusOfRetry).toBe('202')
  await verifying.waitForLine(new RegExp(`^POST /hooks  ${id}  -> 200  signature verified$`))

  expect(JSON.parse(await terminal.paste(misspelt))).toMatchObject({
    code: 'unknown_event_type',
    detail: expect.stringContaining('Did you mean pay_info.paid?'),
  })

  platform.kill('SIGTERM')
  expect(await platform.exited).toEqual({ code: 0, signal: null })
}, 120_000)

/** The commands of the tour, with the ports and the data folder of this test in place of the defaults. */
function tourCommands(): string[] {
  const readme = readFileSync(`${ROOT}README.md`, 'utf8')
  const tour = /^## A tour of five minutes$([\s\S]*?)^## /m.exec(readme)![1]!
  return [...tour.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, command]) =>
    command!
      .replaceAll('127.0.0.1:7676', `127.0.0.1:${port}`)
      .replaceAll('127.0.0.1:4000', `127.0.0.1:${receiverPort}`)
      .replaceAll('.posthorn/', `${dataDir}/`)
      .replaceAll(/(npx -y pnpm@\S+ listen)/g, `$1 --port ${receiverPort}`),
  )
}

/** Runs a command that keeps a terminal of its own: variables, `npx -y pnpm@… `, a script and its arguments. */
async function run(command: string): Promise<NodeProcess> {
  const [, assignments, args] = /^((?:\w+=\S+ )*)npx -y pnpm@\S+ ([\s\S]*)$/.exec(command)!
  const given = (await terminal.paste(`printf '%s\\n' ${args}`)).trimEnd().split('\n')
  const program = spawnNode('apps/cli/src/main.ts', given, {
    cwd: ROOT,
    env: {
      DATABASE_URL: undefined,
      REDIS_URL: undefined,
      POSTHORN_DATA_DIR: dataDir,
      POSTHORN_PORT: String(port),
      ...Object.fromEntries(
        assignments!
          .trim()
          .split(' ')
          .filter((text) => text !== '')
          .map((text) => text.split('=', 2)),
      ),
    },
  })
  programs = [...programs, program]
  return program
}

interface Terminal {
  /** Resolves with what the command printed. */
  paste(command: string): Promise<string>
  close(): void
}

/** One shell for the whole tour: what a command sets is there for the next one. */
function openTerminal(): Terminal {
  const shell: ChildProcessWithoutNullStreams = spawn('bash', ['--noprofile', '--norc'], { cwd: ROOT })
  let output = ''
  let pasted = 0
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  return {
    async paste(command) {
      pasted += 1
      const end = `end of command ${pasted}\n`
      output = ''
      shell.stdin.write(`${command.trimEnd()}\nprintf '%s' '${end}'\n`)
      await vi.waitFor(() => expect(output.endsWith(end), output).toBe(true), {
        timeout: 20_000,
        interval: 10,
      })
      return output.slice(0, -end.length)
    },
    close() {
      shell.stdin.end()
    },
  }
}

function lines(text: string): string[] {
  return text.trimEnd().split('\n')
}

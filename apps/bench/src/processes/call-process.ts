import { fork } from 'node:child_process'

/** A program of its own that answers calls: measuring must not take its CPU from what is measured. */
export interface CalledProcess {
  call<Answer>(name: string, input?: unknown): Promise<Answer>
  stop(): void
}

interface Call {
  number: number
  name: string
  input: unknown
}

type Answer = { number: number } & ({ output: unknown } | { error: string })

/** Starts `script`, which ends in `answerCalls`. It ends with this process. */
export function startCalledProcess(script: URL): CalledProcess {
  const child = fork(script, { execPath: process.execPath, serialization: 'advanced' })
  const waiting = new Map<number, { resolve(output: unknown): void; reject(error: Error): void }>()
  let calls = 0
  child.on('message', (message) => {
    const answer = message as Answer
    const caller = waiting.get(answer.number)
    waiting.delete(answer.number)
    if ('error' in answer) caller?.reject(new Error(answer.error))
    else caller?.resolve(answer.output)
  })
  child.on('exit', (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`${script.pathname} ended with ${code}.`))
  })
  return {
    call<T>(name: string, input?: unknown) {
      return new Promise<T>((resolve, reject) => {
        const number = calls++
        waiting.set(number, { resolve: (output) => resolve(output as T), reject })
        child.send({ number, name, input } satisfies Call)
      })
    },
    stop: () => void child.kill(),
  }
}

/** The other side: a function for each name. */
export function answerCalls(functions: Record<string, (input: never) => unknown>): void {
  process.on('disconnect', () => process.exit())
  process.on('message', async (message) => {
    const { number, name, input } = message as Call
    const answer: Answer = await Promise.try(() => functions[name]!(input as never)).then(
      (output) => ({ number, output }),
      (error: unknown) => ({
        number,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      }),
    )
    process.send!(answer)
  })
}

/** Milliseconds by a clock that all processes of this machine share, and that nobody sets. */
export function sharedNowMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000
}

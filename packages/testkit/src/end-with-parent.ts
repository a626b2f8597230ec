import { spawn } from 'node:child_process'

/**
 * Sees to it that process `pid` gets `signal` when this process ends, even by kill -9, and that `removeDir`
 * goes once it has ended: a test run that is cut short must not leave servers behind. Answers what calls it
 * off; call that once `pid` has ended.
 *
 * A shell waits for the end of its standard input, which the kernel closes with our process.
 */
export function endWithParent(pid: number, signal: 'INT' | 'KILL', removeDir?: string): () => void {
  // No signal of the terminal may end the guard before its time.
  const script = `
    trap "" INT TERM HUP
    read -r called_off && exit
    kill -s "$1" "$2" 2>/dev/null
    [ -n "$3" ] || exit
    rounds=0 # bounded: a zombie that nobody reaps answers for ever
    while kill -0 "$2" 2>/dev/null && [ "$rounds" -lt 300 ]; do sleep 0.1; rounds=$((rounds + 1)); done
    rm -rf -- "$3"`
  const guard = spawn('/bin/sh', ['-c', script, 'sh', signal, String(pid), removeDir ?? ''], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.unref()
  const { stdin } = guard
  stdin.on('error', () => {})
  ;(stdin as unknown as { unref(): void }).unref()
  return () => stdin.end('off\n')
}

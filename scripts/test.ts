// The whole test run: unit and integration, on PostgreSQL always and on Redis where there is one.
// Ends with the runner's own count as a line of its own.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

interface Summary {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  numTodoTests: number
}

const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'posthorn-test-'))
const outputFile = join(folder, 'summary.json')
const { status } = spawnSync(
  process.execPath,
  [
    vitest,
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile=${outputFile}`,
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit' },
)
const summary = JSON.parse(readFileSync(outputFile, 'utf8')) as Summary
rmSync(folder, { recursive: true })
const skipped = summary.numPendingTests + summary.numTodoTests
process.stdout.write(
  `\n${summary.numPassedTests} passed, ${summary.numFailedTests} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`,
)
process.exit(status ?? 1)

import { spawnSync } from 'node:child_process'

// Packs the package in the current directory into dist/package.tgz, as npm users will get it. With pnpm,
// because only that applies `publishConfig`: in the workspace `exports` names the sources. Run it as a
// package script: it takes the pnpm that runs it, which need not be on PATH.
const pnpm = process.env.npm_execpath ?? 'pnpm'
const [command, ...args] = /\.[cm]?js$/.test(pnpm) ? [process.execPath, pnpm] : [pnpm]
const { status, error } = spawnSync(command!, [...args, 'pack', '--out', 'dist/package.tgz'], {
  stdio: 'inherit',
})
if (error) throw error
process.exitCode = status ?? 1

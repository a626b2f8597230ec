import { join } from 'node:path'
import { spawnNode } from '../src/spawn-node.ts'

/** Starts a program of its own, says its pid, and waits to be killed. */
const child = spawnNode(join(import.meta.dirname, 'talking-program.ts'))
await child.waitForLine(/pid of parent/)
process.stdout.write(`child ${child.pid}\n`)

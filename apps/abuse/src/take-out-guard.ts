// Loaded before a process of the platform (node --import): takes a guard out of its sources as they are read.
// Whatever the guard was, nothing beyond this machine is dialled without it.
import { registerHooks } from 'node:module'
import { applyEdits, findGuard, fromRoot, TAKEN_OUT } from './guards.ts'

const { edits } = findGuard(process.env.POSTHORN_TEST_WITHOUT)
const files = new Set(edits.map(({ file }) => file))
const CONNECTOR = 'packages/egress/src/connector.ts'

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    const file = fromRoot(url)
    if (file === undefined || (!files.has(file) && file !== CONNECTOR)) return loaded
    if (files.has(file)) process.stderr.write(`${TAKEN_OUT} ${file}\n`)
    const edited = applyEdits(file, String(loaded.source), edits)
    return { ...loaded, source: file === CONNECTOR ? heldToLoopback(edited) : edited }
  },
})

function heldToLoopback(source: string): string {
  const from = 'socket = connectTcp({\n'
  if (!source.includes(from))
    throw new Error('The connector dials otherwise: nothing holds it to this machine.')
  const list = new URL('./beyond-loopback.ts', import.meta.url)
  return `import { beyondLoopback } from '${list}'\n${source.replace(from, `${from}blockList: beyondLoopback,\n`)}`
}

import { link, mkdir, open, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * The content of a file that only its owner can read (0600), made where there is none. It is on the disk before
 * this returns: what is encrypted under it must not outlive it. Of two processes at once one makes it.
 */
export async function keepPrivateFile(path: string, make: () => string): Promise<string> {
  const found = await readIfThere(path)
  if (found !== undefined) return found
  await mkdir(dirname(path), { recursive: true })
  const writing = `${path}.${process.pid}`
  await rm(writing, { force: true })
  const file = await open(writing, 'wx', 0o600)
  try {
    await file.writeFile(`${make()}\n`)
    await file.chmod(0o600)
    await file.sync()
  } finally {
    await file.close()
  }
  // A link takes no name that is taken, and shows the file whole or not at all.
  await link(writing, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await rm(writing)
  const folder = await open(dirname(path), 'r')
  await folder.sync().finally(() => folder.close())
  return await readFile(path, 'utf8')
}

async function readIfThere(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}

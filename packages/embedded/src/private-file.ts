import { chownSync, closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'

/**
 * Writes a file that only its owner can read (0600), whole or not at all. Never through an existing name,
 * which in a directory of another user could be a link to somewhere else.
 */
export function writePrivateFile(
  path: string,
  content: string,
  owner: { uid: number; gid: number } | undefined,
): void {
  const writing = `${path}.writing`
  rmSync(writing, { force: true })
  const file = openSync(writing, 'wx', 0o600)
  try {
    writeSync(file, content)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  if (owner !== undefined) chownSync(writing, owner.uid >>> 0, owner.gid >>> 0)
  renameSync(writing, path)
}

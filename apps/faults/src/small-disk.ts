import { execFile, spawn } from 'node:child_process'
import { chmod, mkdtemp, rmdir, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A file system of its own, which can be filled to the brim. */
export interface SmallDisk {
  dir: string
  /** From now on nothing more can be written. */
  fill(): Promise<void>
  /** Room as in the beginning. */
  clear(): Promise<void>
  unmount(): Promise<void>
}

/** For what an hour's run writes; memory is taken as it is used. */
const BYTES = 4 * 2 ** 30

/**
 * Mounts one that belongs to the owner of `ownedLike`.
 *
 * @returns undefined where this process may not mount
 */
export async function mountSmallDisk(ownedLike: string): Promise<SmallDisk | undefined> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined
  const parent = await mkdtemp(join(tmpdir(), 'posthorn-disk-'))
  await chmod(parent, 0o711)
  const { uid, gid } = await stat(ownedLike)
  const options = `size=${BYTES},mode=700,uid=${uid},gid=${gid}`
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', options, 'posthorn-faults', parent]).then(
    () => true,
    () => false,
  )
  if (!mounted) {
    await rmdir(parent)
    return undefined
  }
  const callOffGuard = unmountWithParent(parent)
  const resize = (bytes: number) => run('mount', ['-o', `remount,size=${bytes}`, parent])
  return {
    dir: parent,
    async fill() {
      // What is written meanwhile makes the used part larger than it was.
      for (;;) {
        const { blocks, bfree, bsize } = await statfs(parent)
        const done = await resize((blocks - bfree) * bsize).then(
          () => true,
          () => false,
        )
        if (done) return
      }
    },
    async clear() {
      await resize(BYTES)
    },
    async unmount() {
      await run('umount', ['-l', parent])
      callOffGuard()
      await rmdir(parent)
    },
  }
}

/** Also when this process is killed: its end is the end of the guard's standard input. */
function unmountWithParent(dir: string): () => void {
  const script = 'trap "" INT TERM HUP; read -r called_off && exit; umount -l -- "$1"; rmdir -- "$1"'
  const guard = spawn('/bin/sh', ['-c', script, 'sh', dir], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.unref()
  guard.stdin.on('error', () => {})
  ;(guard.stdin as unknown as { unref(): void }).unref()
  return () => guard.stdin.end('off\n')
}

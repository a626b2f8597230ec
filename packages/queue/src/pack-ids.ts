const UUID_BYTES = 16

/** UUIDs as one text of 21⅓ characters each: a chunk job of 100 takes two kilobytes. */
export function packIds(ids: readonly string[]): string {
  return Buffer.from(ids.join('').replaceAll('-', ''), 'hex').toString('base64url')
}

/** Throws on text that `packIds` did not make. */
export function unpackIds(packed: string): string[] {
  const hex = Buffer.from(packed, 'base64url').toString('hex')
  const digits = UUID_BYTES * 2
  if (hex.length === 0 || hex.length % digits !== 0)
    throw new Error('A job does not hold whole delivery ids.')
  const ids: string[] = []
  for (let at = 0; at < hex.length; at += digits) {
    const id = hex.slice(at, at + digits)
    ids.push(`${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`)
  }
  return ids
}

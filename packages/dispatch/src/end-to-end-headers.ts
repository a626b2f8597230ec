/**
 * The headers of an answer without those that only speak of the connection it came over (RFC 9110, section 7.6.1):
 * they say nothing about the answer, and would be a quarter of what is stored of a short one.
 *
 * @param headers names in lower case
 */
export function endToEndHeaders(headers: readonly [name: string, value: string][]): [string, string][] {
  const named = new Set<string>()
  for (const [name, value] of headers) {
    if (name !== 'connection') continue
    for (const option of value.split(',')) named.add(option.trim().toLowerCase())
  }
  return headers.filter(([name]) => !HOP_BY_HOP.has(name) && !named.has(name))
}

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

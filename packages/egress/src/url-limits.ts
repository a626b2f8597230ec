/** First and last, both included. */
export interface PortRange {
  first: number
  last: number
}

/** What the operator limits beside addresses. */
export interface UrlLimits {
  /** Empty or left out: any but 0. */
  ports?: readonly PortRange[]
  httpsOnly?: boolean
}

/** The reason against this scheme (`https:`), if there is one. */
export function refuseScheme(protocol: string, limits: UrlLimits): string | undefined {
  if (protocol === 'https:') return undefined
  if (protocol !== 'http:') return 'the URL must start with https:// or http://'
  return limits.httpsOnly === true
    ? 'the URL must start with https://: this platform sends to nothing else'
    : undefined
}

export function refusePort(port: number, { ports = [] }: UrlLimits): string | undefined {
  if (port === 0) return 'port 0 cannot be connected to'
  if (ports.length === 0 || ports.some(({ first, last }) => port >= first && port <= last)) return undefined
  return 'the port is none that this platform sends to'
}

/** Of a URL's parts, where '' stands for the scheme's own. */
export function portNumber(protocol: string, port: string): number {
  if (port !== '') return Number(port)
  return protocol === 'https:' ? 443 : 80
}

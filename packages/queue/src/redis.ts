import { Cluster, Redis } from 'ioredis'

export interface ConnectRedisOptions {
  /** Keeps commands in memory while Redis is away. */
  enableOfflineQueue: boolean
  /** Null: a command waits for Redis as long as it takes. */
  maxRetriesPerRequest: number | null
}

/**
 * Connects to Redis as its URL says:
 *
 * - `redis://…`, `rediss://…`: one server
 * - `redis+cluster://host:port`: a Cluster, by any of its nodes
 * - `redis+sentinel://host:port/name`: the master called `name`, by any of its Sentinels
 */
export function connectRedis(url: string, options: ConnectRedisOptions): Redis | Cluster {
  const { protocol, hostname, port, username, password, pathname } = new URL(url)
  // A URL has an IPv6 address in brackets, a socket takes it without.
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const credentials = {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
  }
  // Never gives up; a second at most between attempts, so that a restart is noticed soon.
  const retryStrategy = (times: number) => Math.min(50 * times, 1_000)
  switch (protocol) {
    case 'redis+cluster:':
      return new Cluster([{ host, port: Number(port || 6379) }], {
        clusterRetryStrategy: retryStrategy,
        enableOfflineQueue: options.enableOfflineQueue,
        redisOptions: { ...credentials, maxRetriesPerRequest: options.maxRetriesPerRequest },
      })
    case 'redis+sentinel:':
      return new Redis({
        ...options,
        ...credentials,
        sentinels: [{ host, port: Number(port || 26379) }],
        name: decodeURIComponent(pathname.slice(1)),
        retryStrategy,
      })
    default:
      return new Redis(url, { ...options, retryStrategy })
  }
}

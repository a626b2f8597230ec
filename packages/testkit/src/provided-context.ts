declare module 'vitest' {
  interface ProvidedContext {
    /** The maintenance database of the run's PostgreSQL server. Tests make their own with createDatabase(). */
    postgresUrl: string
    /** The run's shared Redis; empty when there is none. */
    redisUrl: string
  }
}

export {}

import { PlatformRetryPolicy, retrySchedule } from '@posthorn/contracts'
import type { Api, ApiContext } from '../api.ts'
import { bearer, problemResponses } from '../route-schema.ts'

/** The platform's retry policy, and the times that it leads to. */
export function registerRetryPolicy(app: Api, { settings: { retryPolicy } }: ApiContext): void {
  const answer = { retryPolicy, retrySchedule: retrySchedule(retryPolicy) }

  app.get(
    '/retry-policy',
    {
      config: { roles: ['read'] },
      schema: {
        summary: 'Get the retry policy of the platform',
        description:
          'It counts for every endpoint that has none of its own, and is set by POSTHORN_RETRY_DELAYS or POSTHORN_RETRY_POLICY.',
        operationId: 'getRetryPolicy',
        tags: ['System'],
        security: bearer,
        response: { 200: PlatformRetryPolicy, ...problemResponses() },
      },
    },
    async () => answer,
  )
}

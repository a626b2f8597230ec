import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import { ProblemError } from '../problem-details.ts'
import { describeProblems } from '../route-schema.ts'

const tags = ['System']

/** Whether the process lives, and whether it should get requests. Open to all: they tell nothing else. */
export function registerSystem(app: Api, { store }: ApiContext): void {
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })

  app.get(
    '/healthz',
    {
      schema: {
        summary: 'Does the process live?',
        operationId: 'getHealth',
        tags,
        response: { 200: Type.Object({ status: Type.Literal('ok') }) },
      },
    },
    async () => ({ status: 'ok' as const }),
  )

  app.get(
    '/readyz',
    {
      schema: {
        summary: 'Can it take requests?',
        description: 'Asks the database. The queue is not needed to accept an event.',
        operationId: 'getReadiness',
        tags,
        response: {
          200: Type.Object({ status: Type.Literal('ready') }),
          ...describeProblems(['database_unavailable', 'shutting_down']),
        },
      },
    },
    async () => {
      if (closing)
        throw new ProblemError('shutting_down', 'This process is stopping. Send requests to another.')
      await store.pool.query('SELECT 1')
      return { status: 'ready' as const }
    },
  )
}

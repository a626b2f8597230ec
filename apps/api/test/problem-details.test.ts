import { type ProblemCode, problemTitles } from '@posthorn/contracts'
import { fastify } from 'fastify'
import { describe, expect, it } from 'vitest'
import { handleError, ProblemError, problemOf } from '../src/problem-details.ts'

const codes = Object.keys(problemTitles) as ProblemCode[]

it.each(codes)('%s has a title and a status of its kind', (code) => {
  const problem = problemOf(code, 'detail')
  expect(problem).toEqual({
    type: `urn:posthorn:problem:${code}`,
    title: expect.stringMatching(/^[A-Z].*[^.]$/),
    status: expect.any(Number),
    detail: 'detail',
    code,
  })
  expect(problem.status).toBeGreaterThanOrEqual(400)
  expect(problem.status).toBeLessThanOrEqual(503)
})

async function answerTo(error: unknown) {
  const app = fastify({ genReqId: () => '01890a5d-ac96-774b-bcce-b302099a8057' })
  app.setErrorHandler(handleError)
  app.get('/', () => {
    throw error
  })
  const { statusCode, headers, body } = await app.inject('/')
  return { status: statusCode, headers, body: JSON.parse(body), text: body }
}

describe('an error', () => {
  it('that is a problem is answered as it is, with its headers', async () => {
    const answer = await answerTo(
      new ProblemError('not_found', 'Look elsewhere.', {
        errors: [{ path: '/a', message: 'is missing' }],
        headers: { 'x-a': '1' },
      }),
    )
    expect(answer.status).toBe(404)
    expect(answer.headers['x-a']).toBe('1')
    expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8')
    expect(answer.body.errors).toEqual([{ path: '/a', message: 'is missing' }])
  })

  it('nobody expected is 500 with the id of the request, and tells nothing of itself', async () => {
    for (const error of [
      new Error('password=hunter2'),
      Object.assign(new Error('hunter2'), { code: '42P01' }),
      'hunter2',
    ]) {
      const answer = await answerTo(error)
      expect(answer.status).toBe(500)
      expect(answer.body).toMatchObject({
        code: 'internal_error',
        instance: 'urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057',
      })
      expect(answer.text).not.toContain('hunter2')
    }
  })

  it.each(['08006', '53300', '57P01', 'ECONNREFUSED', 'P1001'])(
    'of a database that is away (%s) is 503 with Retry-After, and tells no address',
    async (code) => {
      const answer = await answerTo(Object.assign(new Error('connect to 10.1.2.3 failed'), { code }))
      expect(answer.status).toBe(503)
      expect(answer.headers['retry-after']).toBe('2')
      expect(answer.body.code).toBe('database_unavailable')
      expect(answer.text).not.toContain('10.1.2.3')
    },
  )
})

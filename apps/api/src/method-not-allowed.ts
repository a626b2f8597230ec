import type { Api } from './api.ts'
import { ProblemError } from './problem-details.ts'

/** Answers a path that nothing is at with 404, and a path that other methods are at with 405. */
export function registerNotFound(app: Api): void {
  const routes: { segments: string[]; methods: string[] }[] = []
  app.addHook('onRoute', ({ url, method }) => {
    routes.push({ segments: url.split('/'), methods: Array.isArray(method) ? method : [method] })
  })
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?', 1)[0]!.split('/')
    const allowed = new Set(
      routes.filter(({ segments }) => matches(segments, path)).flatMap((r) => r.methods),
    )
    if (allowed.size === 0) {
      throw new ProblemError('not_found', 'Nothing is at this path. /docs lists what there is.')
    }
    const allow = [...allowed].sort().join(', ')
    throw new ProblemError('method_not_allowed', `${request.method} is not for this path. Use ${allow}.`, {
      headers: { allow },
    })
  })
}

function matches(route: string[], path: string[]): boolean {
  return (
    route.length === path.length &&
    route.every((segment, at) => (segment.startsWith(':') ? path[at] !== '' : segment === path[at]))
  )
}

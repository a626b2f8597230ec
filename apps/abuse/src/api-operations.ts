import type { Platform } from './start-platform.ts'

/** One of /openapi.json. */
export interface Operation {
  method: string
  /** With `{name}` where a parameter stands. */
  path: string
  id: string
  /** Whether a key is needed. */
  isSecured: boolean
  /** Who may use it, as the document says. */
  roles: string[]
  parameters: { name: string; in: string; required?: boolean; schema: Schema }[]
  body: Schema | undefined
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>
}

export type Schema = Record<string, unknown>

export interface ApiDocument {
  operations: Operation[]
  components: Schema
}

export async function readOperations(platform: Platform): Promise<ApiDocument> {
  const { body } = await platform.request('GET', '/openapi.json')
  const operations: Operation[] = []
  for (const [path, methods] of Object.entries(body.paths as Record<string, Record<string, Schema>>)) {
    for (const [method, operation] of Object.entries(methods)) {
      const content = (operation.requestBody as { content?: Record<string, { schema: Schema }> })?.content
      operations.push({
        method: method.toUpperCase(),
        path,
        id: String(operation.operationId),
        isSecured: ((operation.security ?? []) as unknown[]).length > 0,
        roles: (operation['x-roles'] ?? []) as string[],
        parameters: (operation.parameters ?? []) as Operation['parameters'],
        body: content?.['application/json']?.schema,
        responses: operation.responses as Operation['responses'],
      })
    }
  }
  return { operations, components: (body.components ?? {}) as Schema }
}

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

export interface ComposeService {
  image?: string
  build?: string
  command?: string[]
  environment?: Record<string, string | null>
  ports?: string[]
  volumes?: string[]
  healthcheck?: { test: string[] }
  depends_on?: Record<string, { condition: string }>
}

export interface ComposeFile {
  services: Record<string, ComposeService>
  volumes: Record<string, null>
}

export function readComposeFile(): ComposeFile {
  return parse(readFileSync(`${ROOT}docker-compose.yml`, 'utf8'), { merge: true }) as ComposeFile
}

/** A service's environment as docker compose makes it, from these variables. Throws where a needed one is missing. */
export function resolveEnvironment(
  service: ComposeService,
  variables: Record<string, string>,
): Record<string, string> {
  const resolved: Record<string, string> = {}
  for (const [name, text] of Object.entries(service.environment ?? {})) {
    // Without a value it is passed on where it is set.
    const value = text === null ? variables[name] : interpolate(text, variables)
    if (value !== undefined) resolved[name] = value
  }
  return resolved
}

function interpolate(text: string, variables: Record<string, string>): string {
  return text.replaceAll(/\$\{(\w+):\?([^}]*)\}/g, (_, name: string, message: string) => {
    const value = variables[name]
    if (value === undefined) throw new Error(`${name}: ${message}`)
    return value
  })
}

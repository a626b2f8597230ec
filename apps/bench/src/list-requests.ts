/** What is read of an OpenAPI document. */
export interface OpenApi {
  paths: Record<string, { get?: { parameters?: { name: string; in: string }[] } }>
}

/** A request of a list. */
export interface ListRequest {
  /** For figures: the route with its filters, by the names of their values. */
  name: string
  path: string
}

/** Values of a filter or of a part of a path, by a name for figures. */
export type ParameterValues = Record<string, Record<string, string>>

/** A filter and the name of its value. */
export interface ChosenFilter {
  name: string
  of: string
}

const PAGE_PARAMETERS = ['cursor', 'limit']

/**
 * Every list of the API: as it is, with each value of each filter, and with each two filters that fit together.
 *
 * @param fits whether two values can be asked for at once
 * @throws where a parameter has no value, so that a new filter is not left out
 */
export function listRequests(
  document: OpenApi,
  values: ParameterValues,
  fits: (one: ChosenFilter, other: ChosenFilter) => boolean,
): ListRequest[] {
  const requests: ListRequest[] = []
  for (const [route, { get }] of Object.entries(document.paths)) {
    const parameters = get?.parameters ?? []
    if (!parameters.some(({ name }) => name === 'cursor')) continue
    const path = route.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
      encodeURIComponent(Object.values(valuesOf(name))[0]!),
    )
    const filters = parameters
      .filter((one) => one.in === 'query' && !PAGE_PARAMETERS.includes(one.name))
      .map(({ name }) => Object.entries(valuesOf(name)).map(([of, value]) => ({ name, of, value })))
    const single = filters.flat().map((one) => [one])
    const double = filters.flatMap((ofOne, at) =>
      filters
        .slice(at + 1)
        .flat()
        .flatMap((other) => ofOne.filter((one) => fits(one, other)).map((one) => [one, other])),
    )
    for (const chosen of [[], ...single, ...double]) {
      const query = new URLSearchParams(chosen.map(({ name, value }) => [name, value] as [string, string]))
      const named = chosen.map(({ name, of }) => `${name}=${of}`).join('&')
      requests.push({
        name: `GET ${route}${named && `?${named}`}`,
        path: path + (query.size > 0 ? `?${query}` : ''),
      })
    }
  }
  return requests

  function valuesOf(name: string): Record<string, string> {
    const found = values[name]
    if (found === undefined) throw new Error(`There is no value for the parameter ${name} of a list.`)
    return found
  }
}

import { percentile } from './percentile.ts'

/** A figure of several rounds: their median, the least and the most, as `p99Ms`, `p99MsMin`, `p99MsMax`. */
export function spread<Name extends string>(
  name: Name,
  values: readonly number[],
  decimals = 0,
): Record<Name | `${Name}Min` | `${Name}Max`, number> {
  const round = (value: number) => Math.round(value * 10 ** decimals) / 10 ** decimals
  return {
    [name]: round(percentile(values, 0.5)),
    [`${name}Min`]: round(Math.min(...values)),
    [`${name}Max`]: round(Math.max(...values)),
  } as Record<Name | `${Name}Min` | `${Name}Max`, number>
}

/**
 * The candidate that `name` was probably meant to be, for "did you mean"; undefined when none is near.
 * Case is ignored. Near is at most a third of the longer name's characters wrong.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  const wanted = name.toLowerCase()
  let nearest: string | undefined
  let nearestDistance = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const distanceMax = Math.floor(Math.max(wanted.length, candidate.length) / 3)
    // Lengths that differ by more than the bound cannot be near: no need to measure them.
    if (Math.abs(wanted.length - candidate.length) > distanceMax) continue
    const distance = editDistance(wanted, candidate.toLowerCase())
    if (distance <= distanceMax && distance < nearestDistance) {
      nearest = candidate
      nearestDistance = distance
    }
  }
  return nearest
}

/** Levenshtein's distance in one row: insertions, deletions and substitutions cost 1 each. */
function editDistance(from: string, to: string): number {
  const row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let line = 1; line <= from.length; line += 1) {
    let diagonal = row[0]!
    row[0] = line
    for (let column = 1; column <= to.length; column += 1) {
      const above = row[column]!
      const substitution = diagonal + (from[line - 1] === to[column - 1] ? 0 : 1)
      row[column] = Math.min(above + 1, row[column - 1]! + 1, substitution)
      diagonal = above
    }
  }
  return row[to.length]!
}

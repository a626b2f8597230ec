/** What a key may do. */
export const ROLES = ['admin', 'emit', 'read', 'owner'] as const
export type Role = (typeof ROLES)[number]

export const roleMeanings: Record<Role, string> = {
  admin: 'everything',
  emit: 'emit messages, nothing else',
  read: 'get everything but secrets, and change nothing',
  owner: "an owner's endpoints, messages, deliveries and replays, and what the audit log has of them",
}

/** The roles that may use a route beside `admin`, which may use every one. */
export type RouteRoles = readonly Exclude<Role, 'admin'>[]

/** As whom a request comes: what its key says. */
export interface RoleHolder {
  /** A role that is not known may do nothing. */
  role: string
  /** The one owner whose things it is for; null: it is not for one. */
  ownerId: string | null
}

/**
 * May it use the route at all? Of what is another owner's the route then finds nothing: that is for its queries.
 *
 * The role `owner` and an owner belong together. One without the other may do nothing.
 */
export function mayUse({ role, ownerId }: RoleHolder, routeRoles: RouteRoles): boolean {
  if ((role === 'owner') !== (ownerId !== null)) return false
  return role === 'admin' || routeRoles.some((allowed) => allowed === role)
}

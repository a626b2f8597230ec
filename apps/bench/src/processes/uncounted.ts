/** A receiver does not note ids that begin so. */
export const UNCOUNTED = 'bare'

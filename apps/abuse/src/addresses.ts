/** The one block that deliveries may go to although it is not public: where the suite's receivers are. */
export const ALLOWED_CIDR = '127.77.0.0/16'
export const ALLOWED_ADDRESS = '127.77.0.1'

/**
 * The worker may connect to all ports but those of a few services. Those of http and https are among them, so that
 * an address on them is refused for what it is.
 */
export const WORKER_PORTS = '9,80,443,1024-65535'
export const REFUSED_PORT = 22

/** Names of responders: each has one of its own, so that none shares a connection. */
export const RESPONDER_NAMES = /^responder-[a-z0-9-]+\.abuse\.example$/

import { BlockList } from 'node:net'

/** Every address but those of this machine. */
export const beyondLoopback = new BlockList()
beyondLoopback.addRange('0.0.0.0', '126.255.255.255', 'ipv4')
beyondLoopback.addRange('128.0.0.0', '255.255.255.255', 'ipv4')
beyondLoopback.addAddress('::', 'ipv6')
beyondLoopback.addRange('::2', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'ipv6')

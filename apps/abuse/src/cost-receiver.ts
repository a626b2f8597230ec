// Takes whatever is posted, at once, and prints where: node cost-receiver.ts
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ALLOWED_ADDRESS } from './addresses.ts'

const server = createServer((request, response) => {
  request.resume().on('end', () => response.writeHead(204).end())
})
server.keepAliveTimeout = 60_000
await once(server.listen(0, ALLOWED_ADDRESS), 'listening')
process.stdout.write(`http://${ALLOWED_ADDRESS}:${(server.address() as AddressInfo).port}/\n`)

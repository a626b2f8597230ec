// What it costs to take an event with nothing behind it: read the request, parse its body, answer.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answerCalls } from './call-process.ts'

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const { id, type } = JSON.parse(Buffer.concat(chunks).toString()) as { id: string; type: string }
    const answer = JSON.stringify({ id, type })
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(answer) }
    response.writeHead(202, headers).end(answer)
  })
})

answerCalls({
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  },
  cpuSeconds(): number {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  },
})

import { createConnection } from 'node:net'

/** What Redis has allocated, by its own account: https://redis.io/docs/latest/commands/info/ */
export async function redisMemoryBytes(port: number): Promise<number> {
  let answer = ''
  const socket = createConnection({ host: '127.0.0.1', port }).setEncoding('utf8')
  // An inline command; QUIT ends the connection behind the answer.
  socket.write('INFO memory\r\nQUIT\r\n')
  for await (const chunk of socket) answer += chunk
  const found = /^used_memory:(\d+)\r$/m.exec(answer)
  if (found === null) throw new Error(`Redis did not say how much memory it uses: ${answer.slice(0, 200)}`)
  return Number(found[1])
}

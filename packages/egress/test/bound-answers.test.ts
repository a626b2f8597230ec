import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { ANSWER_TOO_LARGE, boundAnswers, pieceBytesMax } from '../src/bound-answers.ts'

const toDestroy: { destroy(): void }[] = []

afterEach(() => {
  for (const one of toDestroy.splice(0)) one.destroy()
})

test('an answer is read in pieces, to its last byte', async () => {
  const sent = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at % 251))
  const socket = await connected((peer) => peer.end(sent))
  const pieces: Buffer[] = []
  socket.on('readable', () => {
    for (let piece = socket.read(); piece !== null; piece = socket.read()) pieces.push(piece)
  })
  await once(socket, 'end')
  expect(Buffer.concat(pieces)).toEqual(sent)
  expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThanOrEqual(pieceBytesMax)
})

test('nothing is read of an answer that was given up, though more of it has come', async () => {
  const socket = await connected((peer) => peer.write(Buffer.alloc(4 * pieceBytesMax)))
  await expect.poll(() => socket.readableLength).toBeGreaterThan(pieceBytesMax)
  expect(socket.read()).toHaveLength(pieceBytesMax)
  socket.destroy()
  expect(socket.readableLength).toBeGreaterThan(0)
  expect(socket.read()).toBeNull()
})

test('an answer without an end ends its connection', async () => {
  const socket = await connected((peer) => {
    const more = () => {
      while (!peer.destroyed && peer.write(Buffer.alloc(16_384)));
    }
    peer.on('drain', more)
    more()
  })
  socket.on('readable', () => {
    while (socket.read() !== null);
  })
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
  expect(error.code).toBe(ANSWER_TOO_LARGE)
})

async function connected(respond: (peer: Socket) => void): Promise<Socket> {
  const server = createServer((peer) => {
    toDestroy.push(peer)
    peer.on('error', () => {})
    respond(peer)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const socket = connect({ host: '127.0.0.1', port })
  toDestroy.push(socket, { destroy: () => void server.close() })
  await once(socket, 'connect')
  boundAnswers(socket)
  return socket
}

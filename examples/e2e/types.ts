// What client.d.ts promises, used as a program would; types.test.mjs has tsc read it.
import Default, { Client, Error as Refusal, type Extension, type Extent } from '../../bayeux/browser/client.js'

const client: Client = new Client('http://127.0.0.1:8000/faye', { retry: 1, ack: true, endpoints: { websocket: 'ws://127.0.0.1/faye' } })
const one = client.subscribe('/a', (data: { n: number }) => data.n)
const [live, past] = client.subscribe(['/a', '/a/catchup/12h'], () => {})
const many = client.subscribe(['/a'])

export const use = async (): Promise<number> => {
  const channel: string = await one
  const { messages, truncated }: Extent = await past.complete
  await live.withChannel((channel, data) => [channel, data]).callback((channel) => channel).errback((e: Refusal) => e.params)
  many.forEach((s) => s.cancel())
  const all: unknown[] = await client.catchUp('/a', '50n', () => {})
  await client.publish(channel, { any: 'thing' }, { deadline: 5, attempts: 3 })
  const extension: Extension = { outgoing: (message, next) => next({ ...message, ext: { token: 't' } }) }
  client.addExtension(extension)
  client.removeExtension(extension)
  client.on('transport:down', () => {}).once('transport:up', () => {}).off('transport:up')
  client.setHeader('X-A', 'b')
  client.disable('websocket')
  client.unsubscribe('/a', one)
  const where: 'websocket' | 'long-polling' | 'callback-polling' | null = client.transport
  await client.disconnect()
  return truncated ? messages : all.length + String(where).length + Default.VERSION.length
}

// What is wrong must be seen to be.
// @ts-expect-error a channel is text
client.subscribe(7)
// @ts-expect-error there is no such event
client.on('transport:sideways', () => {})
// @ts-expect-error a list gives a list
client.subscribe(['/a']).cancel()
// @ts-expect-error read only
client.transport = null

// Types of client.mjs and, as the global Faye, of client.js.

export as namespace Faye

export interface Message {
  channel: string
  id?: string
  clientId?: string
  data?: unknown
  ext?: Record<string, unknown>
  subscription?: string | string[]
  successful?: boolean
  error?: string
}

/** A refusal in the server's words. */
declare class FayeError extends Error {
  /** Three digits, or null where the text followed no grammar. */
  code: number | null
  params: string[]
}
export { FayeError as Error }

export interface Deferred<T> extends PromiseLike<T> {
  catch<R = never> (onRejected?: (error: FayeError) => R | PromiseLike<R>): Promise<T | R>
  finally (onFinally?: () => void): Promise<T>
  callback (f: (value: T) => void, context?: unknown): this
  errback (f: (error: FayeError) => void, context?: unknown): this
  timeout (seconds: number, error: unknown): this
}

/** How much a catch-up brings; truncated: the channel's length cut it short. */
export interface Extent { messages: number, truncated: boolean }

export interface Subscription extends Deferred<string> {
  readonly channel: string
  /** What the server said of the past, once a catch-up channel is acknowledged. */
  readonly catchup?: Extent
  /** Of a catch-up channel: kept when all of its past was handed out, rejected when it is refused. */
  readonly complete: Promise<Extent>
  withChannel (callback: (channel: string, data: any) => void, context?: unknown): this
  cancel (): void
  unsubscribe (): void
}

/** Pass the message on, changed or not, or null to drop it. */
export type Step = (message: Message, next: (message: Message | null) => void) => void

export interface Extension {
  incoming?: Step
  outgoing?: Step
  added? (client: Client): void
  removed? (client: Client): void
}

export interface Options {
  /** Seconds before the first retry, 1; it doubles up to 30. */
  retry?: number
  /** Seconds a request that is not held may take, 30. */
  timeout?: number
  /** Seconds between two connects until the server says otherwise, 0. */
  interval?: number
  endpoints?: { websocket?: string, 'long-polling'?: string, 'callback-polling'?: string }
  /** With the ack extension: exact over the loss of a server, for one more message back and forth a batch. */
  ack?: boolean
}

export type State = 'UNCONNECTED' | 'CONNECTING' | 'CONNECTED' | 'DISCONNECTED'
export type TransportEvent = 'transport:down' | 'transport:up'

export class Client {
  constructor (url?: string, options?: Options)
  subscribe (channel: string, callback?: (data: any) => void, context?: unknown): Subscription
  subscribe (channels: string[], callback?: (data: any) => void, context?: unknown): Subscription[]
  /** The past of a channel ('12h', '30m', '10s', '50n'), once it is complete. */
  catchUp (channel: string, interval: string, callback?: (data: any) => void): Promise<any[]>
  unsubscribe (channel: string | string[], listener?: Subscription | ((data: any) => void)): void
  /** deadline in seconds; attempts: how often it is sent at most. */
  publish (channel: string, data: unknown, options?: { deadline?: number, attempts?: number }): Deferred<void>
  connect (callback?: () => void, context?: unknown): void
  handshake (callback?: () => void, context?: unknown): void
  disconnect (): Deferred<void>
  getState (): State
  readonly transport: 'websocket' | 'long-polling' | 'callback-polling' | null
  addExtension (extension: Extension): void
  removeExtension (extension: Extension): void
  setHeader (name: string, value: string): void
  /** Does nothing: browsers negotiate these by themselves. */
  addWebsocketExtension (extension?: unknown): void
  disable (feature: 'websocket' | 'long-polling' | 'callback-polling' | 'autodisconnect' | (string & {})): void
  on (event: TransportEvent, listener: () => void, context?: unknown): this
  bind (event: TransportEvent, listener: () => void, context?: unknown): this
  addListener (event: TransportEvent, listener: () => void, context?: unknown): this
  once (event: TransportEvent, listener: () => void, context?: unknown): this
  off (event?: TransportEvent, listener?: () => void): this
  unbind (event?: TransportEvent, listener?: () => void): this
  removeListener (event: TransportEvent, listener?: () => void): this
  removeAllListeners (event?: TransportEvent): this
  trigger (event: string, ...args: unknown[]): void
  countListeners (event: string): number
}

export const VERSION: string
declare const Faye: { VERSION: string, Client: typeof Client, Error: typeof FayeError }
export default Faye

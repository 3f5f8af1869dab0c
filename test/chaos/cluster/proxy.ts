/**
 * A stretch of network that a test owns: connections to one port go on to another, and on the way
 * they can be cut, held in one or both directions, slowed down and reset. A held direction loses
 * nothing by itself, as TCP does not: what waited is sent on, or the connection is reset.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

export type Direction = 'to-server' | 'to-client';

/** Reads what passes on one connection. */
export interface Tap {
  clientSaid(chunk: Buffer): void;
  serverSaid(chunk: Buffer): void;
}

export interface ProxyOptions {
  readonly targetPort: number;
  readonly tap?: () => Tap;
}

interface Piece {
  readonly chunk: Buffer;
  readonly dueMs: number;
}

const loopback = '127.0.0.1';
/** What a held or slow direction keeps before it takes nothing more from its source. */
const heldBytesMax = 4 * 1024 * 1024;

export class Proxy {
  readonly #options: ProxyOptions;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #held = new Set<Direction>();
  #delayMs = 0;
  #port = 0;

  private constructor(options: ProxyOptions) {
    this.#options = options;
    this.#server = createServer({ noDelay: true }, (client) => this.#accept(client));
  }

  static async listen(options: ProxyOptions): Promise<Proxy> {
    const proxy = new Proxy(options);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen({ host: loopback, port: 0 }, resolve);
    });
    const address = proxy.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    proxy.#port = address.port;
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  /** Nothing passes in these directions from now on, on connections old and new. */
  hold(...directions: readonly Direction[]): void {
    for (const direction of directions) this.#held.add(direction);
  }

  /** Every piece waits for so long; 0 lets it through. The order stays. */
  delay(delayMs: number): void {
    this.#delayMs = delayMs;
    this.#pump();
  }

  /** Everything passes again; what waited goes first. */
  release(): void {
    this.#held.clear();
    this.#delayMs = 0;
    this.#pump();
  }

  /** Ends every connection with a reset, as a firewall does that has forgotten them. */
  reset(): void {
    for (const connection of this.#connections) connection.reset();
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.reset();
    await closed;
  }

  #accept(client: Socket): void {
    const connection = new Connection({
      client,
      targetPort: this.#options.targetPort,
      tap: this.#options.tap?.(),
      isHeld: (direction) => this.#held.has(direction),
      delayMs: () => this.#delayMs,
      onEnd: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
  }

  #pump(): void {
    for (const connection of this.#connections) connection.pump();
  }
}

interface ConnectionOptions {
  readonly client: Socket;
  readonly targetPort: number;
  readonly tap: Tap | undefined;
  readonly isHeld: (direction: Direction) => boolean;
  readonly delayMs: () => number;
  readonly onEnd: () => void;
}

class Connection {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #lanes: readonly Lane[];
  readonly #onEnd: () => void;
  #over = false;

  constructor({ client, targetPort, tap, isHeld, delayMs, onEnd }: ConnectionOptions) {
    this.#client = client;
    this.#server = connect({ host: loopback, port: targetPort, noDelay: true });
    this.#onEnd = onEnd;
    const lane = (direction: Direction, from: Socket, to: Socket): Lane =>
      new Lane({
        from,
        to,
        isHeld: () => isHeld(direction),
        delayMs,
        onPass: (chunk) =>
          direction === 'to-server' ? tap?.clientSaid(chunk) : tap?.serverSaid(chunk),
      });
    this.#lanes = [
      lane('to-server', this.#client, this.#server),
      lane('to-client', this.#server, this.#client),
    ];
    for (const socket of [this.#client, this.#server]) {
      socket.on('error', () => this.reset());
      socket.on('close', () => this.#end());
    }
  }

  pump(): void {
    for (const lane of this.#lanes) lane.pump();
  }

  reset(): void {
    for (const socket of [this.#client, this.#server]) closeAtOnce(socket);
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    for (const lane of this.#lanes) lane.end();
    // What a side said last still goes out: the reason of a refusal, for one.
    this.#client.destroySoon();
    this.#server.destroySoon();
    this.#onEnd();
  }
}

/**
 * With a reset, unless it is ending already: a reset in the midst of that is refused by the system's layer
 * below Node, which then never closes the socket, and the process cannot end.
 */
export function closeAtOnce(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

interface LaneOptions {
  readonly from: Socket;
  readonly to: Socket;
  readonly isHeld: () => boolean;
  readonly delayMs: () => number;
  readonly onPass: (chunk: Buffer) => void;
}

/** One direction of one connection. */
class Lane {
  readonly #options: LaneOptions;
  readonly #waiting: Piece[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  constructor(options: LaneOptions) {
    this.#options = options;
    options.from.on('data', (chunk: Buffer) => this.#take(chunk));
    options.to.on('drain', () => this.pump());
  }

  /** Sends on what is due, as far as the other side takes it. */
  pump(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { to, isHeld, onPass } = this.#options;
    while (!this.#over && !isHeld() && !to.writableNeedDrain) {
      const [next] = this.#waiting;
      if (next === undefined) break;
      const waitMs = this.#options.delayMs() === 0 ? 0 : next.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        break;
      }
      this.#waiting.shift();
      this.#waitingBytes -= next.chunk.length;
      onPass(next.chunk);
      to.write(next.chunk);
    }
    if (!this.#over && this.#waitingBytes < heldBytesMax) this.#options.from.resume();
  }

  end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
  }

  #take(chunk: Buffer): void {
    this.#waiting.push({ chunk, dueMs: performance.now() + this.#options.delayMs() });
    this.#waitingBytes += chunk.length;
    if (this.#waitingBytes >= heldBytesMax) this.#options.from.pause();
    this.pump();
  }
}

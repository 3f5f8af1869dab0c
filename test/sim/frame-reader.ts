/**
 * Reads what the bus stored for the observer, who knows every secret of the world: which frame it is,
 * whether its sender sealed it, what it says. Each is found out at the first look and kept, so that
 * what nobody asks about costs nothing but the hash.
 */

import type { Header } from '#schemas/frame.ts';
import type { StreamName } from '#shared/bus/bus.ts';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import {
  openFrame,
  parseFrame,
  statementHashOf,
  verifyFrame,
  type ParsedFrame,
} from '#shared/crypto/envelope.ts';
import type { VerifyKey } from '#shared/crypto/key-handle.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { ObservedMessage } from './observation.ts';

export interface WorldSecrets {
  readonly crypto: CryptoProvider;
  /** Secret of a channel's epoch, over or not. */
  readonly secretOf: (name: { channel: string; epoch: number }) => Uint8Array | undefined;
  readonly verifyKeyOf: (agentId: string) => VerifyKey | undefined;
}

export interface Stored {
  readonly stream: StreamName;
  readonly sequence: number;
  readonly subject: string;
  readonly messageId: string;
  readonly data: Uint8Array;
  readonly timeMs: number;
}

/** A message with all that its bytes say. */
export class FrameMessage implements ObservedMessage {
  readonly stream: StreamName;
  readonly sequence: number;
  readonly subject: string;
  readonly messageId: string;
  readonly data: Uint8Array;
  readonly timeMs: number;
  readonly hash: string;
  readonly sender: string;
  readonly type: string;
  readonly header: Header | undefined;
  readonly #world: WorldSecrets;
  readonly #frame: ParsedFrame | undefined;
  #authentic: boolean | undefined;
  #content: { readonly body: unknown; readonly plaintext: Uint8Array } | null | undefined;

  constructor(world: WorldSecrets, stored: Stored) {
    this.#world = world;
    this.stream = stored.stream;
    this.sequence = stored.sequence;
    this.subject = stored.subject;
    this.messageId = stored.messageId;
    this.data = stored.data;
    this.timeMs = stored.timeMs;
    const parsed = parseFrame(stored.data);
    this.#frame = parsed.ok ? parsed.frame : undefined;
    this.header = this.#frame?.header;
    this.hash = this.#frame === undefined ? '' : toHex(statementHashOf(world.crypto, this.#frame));
    this.sender = this.header?.sender ?? '';
    this.type = this.header?.type ?? '';
  }

  get authentic(): boolean {
    this.#authentic ??= this.#isAuthentic();
    return this.#authentic;
  }

  get body(): unknown {
    return this.#opened()?.body;
  }

  get plaintext(): Uint8Array | undefined {
    return this.#opened()?.plaintext;
  }

  #isAuthentic(): boolean {
    const key = this.#world.verifyKeyOf(this.sender);
    if (this.#frame === undefined || key === undefined) return false;
    return verifyFrame(this.#world.crypto, this.#frame, key).ok;
  }

  #opened() {
    if (this.#content === undefined) this.#content = this.#open() ?? null;
    return this.#content ?? undefined;
  }

  #open() {
    const frame = this.#frame;
    if (frame === undefined) return undefined;
    const { channel, epoch } = frame.header;
    const secret = this.#world.secretOf({ channel, epoch });
    if (secret === undefined) return undefined;
    const opened = openFrame(this.#world.crypto, frame, secret);
    if (!opened.ok) return undefined;
    return { body: opened.body, plaintext: concat(opened.salt, opened.bodyBytes) };
  }
}

/**
 * A PKCS#11 token whose keys wrap what a layer keeps: AES-256 keys by name, made in the token,
 * sensitive, never extractable, and destroyed there. Wrapping is AES-256-GCM by the token itself: no
 * key is ever in our memory, and every wrapping is bound to its key's name and id and to its purpose.
 */
import assert from 'node:assert/strict';

import type { Operation, Outcome } from './child-messages.ts';
import type { ChildSupervisor } from './child-supervisor.ts';
import { expectOutcome, nameOfToken, superviseChild, type TokenPlace } from './opened-child.ts';
import type { TokenInfo } from './pkcs11-slot.ts';
import { isKeyName, isTokenLabel, tokenKeyIdBytes, type TokenKey } from './token.ts';
import { assertPurpose, assertWrapArguments, requireWrapping } from './wrapping.ts';

export interface KeyTokenDescription {
  readonly label: string;
  readonly isHsm: boolean;
  /** What every place that shows it must print. */
  readonly notice: string;
}

/** Every method rejects with a `TokenError`; arguments out of bounds assert. */
export interface KeyToken {
  describe(): KeyTokenDescription;
  /** The id of the key of that name; made, unless it is there. May be repeated after any fault. */
  makeKey(name: string): Promise<Uint8Array>;
  /** 1 byte to 64 KiB; the result has 40 bytes more. KEY_UNKNOWN without that key. */
  wrap(key: TokenKey, bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array>;
  /** What `wrap` was given, wiped by the caller. WRAPPING_INVALID for what this key did not wrap so. */
  unwrap(key: TokenKey, wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array>;
  /** Once this resolves no key of that name is in the token. May be repeated after any fault. */
  destroyKey(name: string): Promise<void>;
  /** The child that holds the token now; null while there is none. */
  childPid(): number | null;
  close(): Promise<void>;
}

/** One login attempt. Rejects with any code of the token. */
export async function openKeyToken(place: TokenPlace): Promise<KeyToken> {
  assert(isTokenLabel(place.label), 'token label is 1 to 32 printable ASCII characters');
  const token = new SupervisedKeyToken(place);
  try {
    await token.open();
    return token;
  } catch (error) {
    await token.close();
    throw error;
  }
}

class SupervisedKeyToken implements KeyToken {
  readonly #label: string;
  readonly #supervisor: ChildSupervisor;
  #info: TokenInfo | null = null;

  constructor(place: TokenPlace) {
    this.#label = place.label;
    this.#supervisor = superviseChild(
      place,
      (names) => ({ op: 'open-keys', ...names }),
      (info) => {
        this.#info = info;
      },
    );
  }

  open(): Promise<void> {
    return this.#supervisor.open();
  }

  describe(): KeyTokenDescription {
    assert(this.#info !== null, 'a token is described after it was opened');
    const { name, isHsm } = nameOfToken(this.#info);
    const notice = isHsm ? `PKCS#11 token (${name})` : `software token (${name}): not an HSM`;
    return { label: this.#label, isHsm, notice };
  }

  async makeKey(name: string): Promise<Uint8Array> {
    assert(isKeyName(name), 'not a key name');
    return expectOutcome(await this.#call({ op: 'make-key', keyName: name }), 'key').keyId;
  }

  async wrap(key: TokenKey, bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    assertKey(key);
    assertWrapArguments(bytes, purpose);
    const outcome = await this.#call({ op: 'key-wrap', key: plain(key), bytes, purpose });
    return expectOutcome(outcome, 'wrapped').wrapped;
  }

  async unwrap(key: TokenKey, wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    assertKey(key);
    requireWrapping(wrapped);
    assertPurpose(purpose);
    const outcome = await this.#call({ op: 'key-unwrap', key: plain(key), wrapped, purpose });
    return expectOutcome(outcome, 'unwrapped').bytes;
  }

  async destroyKey(name: string): Promise<void> {
    assert(isKeyName(name), 'not a key name');
    expectOutcome(await this.#call({ op: 'destroy-key', keyName: name }), 'destroyed');
  }

  childPid(): number | null {
    return this.#supervisor.childPid;
  }

  close(): Promise<void> {
    return this.#supervisor.close();
  }

  /** Every operation may be repeated in a new child. */
  #call(operation: Operation): Promise<Outcome> {
    return this.#supervisor.call(operation, { repeatable: true });
  }
}

function assertKey({ name, id }: TokenKey): void {
  assert(isKeyName(name) && id.length === tokenKeyIdBytes, 'not a key of a token');
}

/** What crosses to the child has these two fields and no others. */
function plain({ name, id }: TokenKey): TokenKey {
  return { name, id };
}

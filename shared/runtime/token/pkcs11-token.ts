/**
 * A PKCS#11 token as a `Token`, in wrapped-seed mode: an AES-256 key that cannot leave the token
 * wraps each ML-DSA-87 seed, and a child process unwraps a seed for one signature. So the token
 * guards keys at rest, while a signature is computed in the memory of the child; `describe` says so.
 */
import assert from 'node:assert/strict';

import { requireCanary, runCanary } from './canary.ts';
import type { Operation, Outcome } from './child-messages.ts';
import type { ChildSupervisor } from './child-supervisor.ts';
import { expectOutcome, nameOfToken, superviseChild } from './opened-child.ts';
import type { TokenPlace } from './opened-child.ts';
import type { TokenInfo } from './pkcs11-slot.ts';
import { TokenError, assertSignArguments, isKeyName, isTokenLabel } from './token.ts';
import type { CanaryResult, Token, TokenDescription } from './token.ts';
import { assertPurpose, assertWrapArguments, requireWrapping } from './wrapping.ts';

export interface Pkcs11TokenOptions extends TokenPlace {
  /** Folder of the wrapped seeds; made if missing, mode 0700. */
  directory: string;
}

export interface Pkcs11Token extends Token {
  /** The child that holds the token now; null while there is none. */
  childPid(): number | null;
}

/**
 * One login attempt. Rejects with any code of the token; TOKEN_CANARY_FAILED if what it signs does
 * not hold outside it. The token must have been prepared (pkcs11-provisioning.ts).
 */
export async function openPkcs11Token(options: Pkcs11TokenOptions): Promise<Pkcs11Token> {
  assert(isTokenLabel(options.label), 'token label is 1 to 32 printable ASCII characters');
  const token = new WrappedSeedToken(options);
  try {
    await token.open();
    await requireCanary(token);
    return token;
  } catch (error) {
    await token.close();
    throw error;
  }
}

/** What a token is, from what it says of itself. A software token is never called an HSM. */
export function describePkcs11(label: string, info: TokenInfo): TokenDescription {
  const { name, isHsm } = nameOfToken(info);
  const notice = isHsm
    ? `PKCS#11 token (${name}), wrapped-seed mode: the HSM guards keys at rest, signing is in software`
    : `software token (${name}), wrapped-seed mode: not an HSM`;
  return { kind: 'pkcs11', label, mode: 'wrapped-seed', isHsm, notice };
}

class WrappedSeedToken implements Pkcs11Token {
  readonly #options: Pkcs11TokenOptions;
  readonly #supervisor: ChildSupervisor;
  #info: TokenInfo | null = null;

  constructor(options: Pkcs11TokenOptions) {
    this.#options = options;
    const { directory } = options;
    this.#supervisor = superviseChild(
      options,
      (names) => ({ op: 'open', directory, ...names }),
      (info) => {
        this.#info = info;
      },
    );
  }

  open(): Promise<void> {
    return this.#supervisor.open();
  }

  describe(): TokenDescription {
    assert(this.#info !== null, 'a token is described after it was opened');
    return describePkcs11(this.#options.label, this.#info);
  }

  async generateKey(keyName: string): Promise<{ publicKey: Uint8Array }> {
    assert(isKeyName(keyName), 'not a key name');
    const outcome = await this.#call({ op: 'generate', keyName }, { repeatable: false });
    return { publicKey: expectOutcome(outcome, 'public-key').publicKey };
  }

  async publicKey(keyName: string): Promise<Uint8Array> {
    requireKeyName(keyName);
    const outcome = await this.#call({ op: 'public-key', keyName }, { repeatable: true });
    return expectOutcome(outcome, 'public-key').publicKey;
  }

  async sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array> {
    requireKeyName(keyName);
    assertSignArguments(message, context);
    const operation = { op: 'sign', keyName, message, context } as const;
    return expectOutcome(await this.#call(operation, { repeatable: true }), 'signature').signature;
  }

  async wrap(bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    assertWrapArguments(bytes, purpose);
    const operation = { op: 'wrap', bytes, purpose } as const;
    return expectOutcome(await this.#call(operation, { repeatable: true }), 'wrapped').wrapped;
  }

  async unwrap(wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    requireWrapping(wrapped);
    assertPurpose(purpose);
    const operation = { op: 'unwrap', wrapped, purpose } as const;
    return expectOutcome(await this.#call(operation, { repeatable: true }), 'unwrapped').bytes;
  }

  canary(): Promise<CanaryResult> {
    return runCanary(this);
  }

  close(): Promise<void> {
    return this.#supervisor.close();
  }

  childPid(): number | null {
    return this.#supervisor.childPid;
  }

  #call(operation: Operation, options: { repeatable: boolean }): Promise<Outcome> {
    return this.#supervisor.call(operation, options);
  }
}

function requireKeyName(keyName: string): void {
  if (!isKeyName(keyName)) throw new TokenError('KEY_UNKNOWN', 'not a key name');
}

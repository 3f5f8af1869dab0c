/**
 * A PKCS#11 token as a `Token`, in wrapped-seed mode: an AES-256 key that cannot leave the token
 * wraps each ML-DSA-87 seed, and a child process unwraps a seed for one signature. So the token
 * guards keys at rest, while a signature is computed in the memory of the child; `describe` says so.
 */
import assert from 'node:assert/strict';

import { requireCanary, runCanary } from './canary.ts';
import type { Operation, Outcome } from './child-messages.ts';
import { TokenProcess } from './child-process.ts';
import type { ChildLoss } from './child-process.ts';
import { ChildSupervisor } from './child-supervisor.ts';
import type { TokenEvent } from './child-supervisor.ts';
import type { TokenInfo } from './pkcs11-session.ts';
import { readPin } from './pin.ts';
import type { PinSource } from './pin.ts';
import { TokenError, assertSignArguments, isKeyName, isTokenLabel } from './token.ts';
import type { CanaryResult, Token, TokenDescription } from './token.ts';
import { assertPurpose, assertWrapArguments, requireWrapping } from './wrapping.ts';

export interface Pkcs11TokenOptions {
  libraryPath: string;
  label: string;
  /** Folder of the wrapped seeds; made if missing, mode 0700. */
  directory: string;
  /** Asked again at each start of a child. */
  pin: PinSource;
  /** For the child only, such as SOFTHSM2_CONF. */
  env?: Readonly<Record<string, string>>;
  /** For one request to the child; default 2,000. After it the child is killed. */
  requestTimeoutMs?: number;
  /** For starting a child and logging in; default 10,000. */
  startTimeoutMs?: number;
  /** Requests that may wait; default 256. */
  queueMax?: number;
  /** Starts and losses of children, for the log. */
  onEvent?: (event: TokenEvent) => void;
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
  const softHsm = info.manufacturer === 'SoftHSM project';
  const isHsm = info.hardware && !softHsm;
  const name = softHsm ? 'SoftHSM2' : printable(`${info.manufacturer} ${info.model}`);
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
    this.#supervisor = new ChildSupervisor({
      start: (onLost) => this.#start(onLost),
      requestTimeoutMs: options.requestTimeoutMs ?? 2000,
      queueMax: options.queueMax ?? 256,
      onEvent: options.onEvent ?? (() => {}),
    });
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
    return { publicKey: expect(outcome, 'public-key').publicKey };
  }

  async publicKey(keyName: string): Promise<Uint8Array> {
    requireKeyName(keyName);
    const outcome = await this.#call({ op: 'public-key', keyName }, { repeatable: true });
    return expect(outcome, 'public-key').publicKey;
  }

  async sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array> {
    requireKeyName(keyName);
    assertSignArguments(message, context);
    const operation = { op: 'sign', keyName, message, context } as const;
    return expect(await this.#call(operation, { repeatable: true }), 'signature').signature;
  }

  async wrap(bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    assertWrapArguments(bytes, purpose);
    const operation = { op: 'wrap', bytes, purpose } as const;
    return expect(await this.#call(operation, { repeatable: true }), 'wrapped').wrapped;
  }

  async unwrap(wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    requireWrapping(wrapped);
    assertPurpose(purpose);
    const operation = { op: 'unwrap', wrapped, purpose } as const;
    return expect(await this.#call(operation, { repeatable: true }), 'unwrapped').bytes;
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

  async #start(onLost: (loss: ChildLoss) => void): Promise<TokenProcess> {
    const { libraryPath, label, directory, env, startTimeoutMs } = this.#options;
    const pin = await readPin(this.#options.pin);
    try {
      const child = await TokenProcess.start({ env: env ?? {}, onLost });
      try {
        const operation = { op: 'open', libraryPath, label, directory, pin } as const;
        const outcome = await child.request(operation, startTimeoutMs ?? 10_000);
        this.#info = expect(outcome, 'opened').info;
        return child;
      } catch (error) {
        await child.kill();
        throw error;
      }
    } finally {
      pin.fill(0);
    }
  }
}

function requireKeyName(keyName: string): void {
  if (!isKeyName(keyName)) throw new TokenError('KEY_UNKNOWN', 'not a key name');
}

/** A reply of a known shape to another question than ours is a fault of the token's side. */
function expect<Name extends Outcome['outcome']>(
  outcome: Outcome,
  name: Name,
): Extract<Outcome, { outcome: Name }> {
  if (isOutcome(outcome, name)) return outcome;
  throw new TokenError('TOKEN_FAILED', `the token child answered ${outcome.outcome}`);
}

function isOutcome<Name extends Outcome['outcome']>(
  outcome: Outcome,
  name: Name,
): outcome is Extract<Outcome, { outcome: Name }> {
  return outcome.outcome === name;
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, '?').trim();
}

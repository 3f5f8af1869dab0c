/**
 * A PKCS#11 token as the holder of root KEKs: each version is an AES-256 key of its own in the token,
 * which wraps and unwraps there and cannot leave. Faults of the token are translated here: what
 * passes (it is away, it hangs) is worth another try, a refused PIN is not, and what does not open is
 * a damaged secret. A token that is away is not looked for by every try of a step, each of which would
 * start a process: for two seconds the answer is the one that there was.
 */

import { admitCall, closedCircuit, noteCall, type CircuitRules } from '#shared/core/circuit.ts';
import { equalConstantTime, fromHex, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { KeyToken, KeyTokenDescription } from '#shared/runtime/token/key-token.ts';
import { TokenError, type TokenErrorCode, type TokenKey } from '#shared/runtime/token/token.ts';
import { AdapterError } from '../adapter.ts';
import type { Artefact } from '../embedded/key-kinds.ts';
import type { HeldKey, KeysElsewhere } from '../embedded/keys-elsewhere.ts';

const canaryPurpose = utf8('gyre/v1/root-kek-canary');
const probeBytes = 32;

const awayMs = 2_000;
const rules: CircuitRules = { failuresMax: 1, openMs: awayMs, openMsMax: awayMs };

/** The secret itself is damaged, or was wrapped by something else. */
const damaged: readonly TokenErrorCode[] = ['WRAPPING_INVALID', 'KEY_UNKNOWN'];
/** Another try would end in the same way: somebody has to see to it first. */
const final: readonly TokenErrorCode[] = [
  'TOKEN_PIN_WRONG',
  'TOKEN_PIN_LOCKED',
  'TOKEN_LIBRARY_MISSING',
  'TOKEN_MECHANISM_MISSING',
];

export class RootToken implements KeysElsewhere {
  readonly custody = 'token';
  readonly #token: KeyToken;
  readonly #crypto: CryptoProvider;
  readonly #clock: Clock;
  #circuit = closedCircuit;
  #lastFault: AdapterError | undefined;

  constructor(token: KeyToken, crypto: CryptoProvider, clock: Clock) {
    this.#token = token;
    this.#crypto = crypto;
    this.#clock = clock;
  }

  describe(): KeyTokenDescription {
    return this.#token.describe();
  }

  async make(name: string): Promise<string> {
    return toHex(await this.#ask(() => this.#token.makeKey(name)));
  }

  async wrap(key: HeldKey, secret: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    return await this.#ask(() => this.#token.wrap(named(key), secret, purpose));
  }

  /** To be wiped by the caller. @throws AdapterError STORE_FAILED where it does not open */
  async unwrap(key: HeldKey, sealed: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    return await this.#ask(() => this.#token.unwrap(named(key), sealed, purpose));
  }

  async probe(key: HeldKey): Promise<boolean> {
    const artefact = await this.makeArtefact(key);
    if (!(await this.checkArtefact(key, artefact))) return false;
    const changed = Uint8Array.from(artefact.output);
    const last = changed.length - 1;
    changed[last] = (changed[last] ?? 0) ^ 1;
    if (await this.checkArtefact(key, { ...artefact, output: changed })) return false;
    // A token that forgets what a wrapping is for would let one pass for another.
    return (await this.#opened(key, artefact.output, utf8('another purpose'))) === undefined;
  }

  async makeArtefact(key: HeldKey): Promise<Artefact> {
    const bytes = this.#crypto.randomBytes(probeBytes);
    const output = await this.wrap(key, bytes, canaryPurpose);
    return { input: this.#crypto.sha3_256(bytes), output };
  }

  async checkArtefact(key: HeldKey, { input, output }: Artefact): Promise<boolean> {
    const opened = await this.#opened(key, output, canaryPurpose);
    return opened !== undefined && equalConstantTime(this.#crypto.sha3_256(opened), input);
  }

  async destroy(name: string): Promise<void> {
    await this.#ask(() => this.#token.destroyKey(name));
  }

  close(): Promise<void> {
    return this.#token.close();
  }

  async #ask<Result>(ask: () => Promise<Result>): Promise<Result> {
    const { circuit, admitted } = admitCall(this.#circuit, this.#clock.monotonicMs(), rules);
    this.#circuit = circuit;
    if (!admitted && this.#lastFault !== undefined) throw this.#lastFault;
    try {
      const result = await ask();
      this.#note('done');
      return result;
    } catch (error) {
      const fault = translated(error);
      const isAway = fault instanceof AdapterError && fault.code === 'SYSTEM_UNREACHABLE';
      if (isAway) this.#lastFault = fault;
      this.#note(isAway ? 'failed' : 'done');
      throw fault;
    }
  }

  #note(outcome: 'done' | 'failed'): void {
    this.#circuit = noteCall(this.#circuit, outcome, this.#clock.monotonicMs(), rules);
  }

  async #opened(
    key: HeldKey,
    sealed: Uint8Array,
    purpose: Uint8Array,
  ): Promise<Uint8Array | undefined> {
    try {
      return await this.unwrap(key, sealed, purpose);
    } catch (error) {
      if (error instanceof AdapterError && error.code === 'STORE_FAILED') return undefined;
      throw error;
    }
  }
}

function named({ name, keyId }: HeldKey): TokenKey {
  const id = fromHex(keyId);
  if (id !== undefined) return { name, id };
  throw new AdapterError('STORE_FAILED', `the id of ${name} is none`);
}

function translated(error: unknown): unknown {
  if (!(error instanceof TokenError)) return error;
  const { code, message } = error;
  if (damaged.includes(code)) return new AdapterError('STORE_FAILED', message, { cause: error });
  const retryable = !final.includes(code);
  return new AdapterError('SYSTEM_UNREACHABLE', message, { cause: error, retryable });
}

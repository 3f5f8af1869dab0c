/**
 * The signer's token in a simulated world: the role keys of the world behind the latency, the losses and
 * the silence of a real token. The device outlives the signer's processes; each life opens it anew.
 *
 * It fails as the supervised token does (`shared/runtime/token/child-supervisor.ts`): one request at a time,
 * a request that hung or whose session was lost is repeated once in a new child, and what fails twice is
 * TOKEN_TIMEOUT or TOKEN_UNREACHABLE. Whether a signature was made is then unknown: here it was or was not.
 */

import {
  assertSignArguments,
  TokenError,
  type CanaryResult,
  type Token,
  type TokenErrorCode,
} from '#shared/runtime/token/token.ts';
import type { BusClock } from '#shared/bus/timers.ts';
import { concat } from '#shared/crypto/bytes.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { SimulatedCrash, type CrashPoint, type CrashPoints } from './model.ts';
import type { Draws, Life, Trace } from './model.ts';

/** What is the matter with the token. */
export interface TokenConditions {
  latencyMs: { readonly least: number; readonly most: number };
  /** How often a request gets no answer: it was carried out, or it was not. */
  silence: number;
  /** How often the session is lost under a request. */
  sessionLoss: number;
  /** Nobody can open it. */
  isDown: boolean;
  /** What it signs: `invalid` and `context-ignored` are what the canary is there for. */
  signatures: 'good' | 'invalid' | 'context-ignored';
}

export function fairToken(): TokenConditions {
  return {
    latencyMs: { least: 1, most: 4 },
    silence: 0,
    sessionLoss: 0,
    isDown: false,
    signatures: 'good',
  };
}

export interface TokenDeviceOptions {
  readonly crypto: CryptoProvider;
  /** By name: those of the roles, at least. */
  readonly keys: ReadonlyMap<string, SigningKey>;
  readonly draws: Draws;
  readonly trace: Trace;
  readonly crashes: CrashPoints;
}

/** What a token is asked, by the words of its crash points and of the trace. */
type Request = 'sign' | 'wrap' | 'unwrap' | 'public key';

/** The default of the production token. */
const requestTimeoutMs = 2_000;
const queueMax = 256;
const restartMs = { least: 130, most: 240 };
const attemptsMax = 2;
const nonceBytes = 12;

/** The device: its keys, and what is the matter with it in all lives of the signer. */
export class TokenDevice {
  readonly options: TokenDeviceOptions;
  readonly conditions: TokenConditions = fairToken();
  /** Signatures that it made, told or not. */
  signatures = 0;
  readonly #imposed: Partial<TokenConditions>[] = [];

  constructor(options: TokenDeviceOptions) {
    this.options = options;
  }

  /** The token as one life of the signer holds it. */
  open(life: Life, clock: BusClock): SimulatedToken {
    return new SimulatedToken(this, life, clock);
  }

  /** Until the result is called; the last that came and is not healed counts. */
  disturb(conditions: Partial<TokenConditions>): () => void {
    this.#imposed.push(conditions);
    this.#conditionsChanged();
    return () => {
      const at = this.#imposed.indexOf(conditions);
      if (at >= 0) this.#imposed.splice(at, 1);
      this.#conditionsChanged();
    };
  }

  calm(): void {
    this.#imposed.length = 0;
    this.#conditionsChanged();
  }

  #conditionsChanged(): void {
    Object.assign(this.conditions, fairToken(), ...this.#imposed);
  }
}

export class SimulatedToken implements Token {
  readonly #device: TokenDevice;
  readonly #life: Life;
  readonly #clock: BusClock;
  readonly #draws: Draws;
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #isClosed = false;
  /** How often its child was replaced. */
  restarts = 0;

  constructor(device: TokenDevice, life: Life, clock: BusClock) {
    this.#device = device;
    this.#life = life;
    this.#clock = clock;
    this.#draws = device.options.draws.fork(`token in life ${life.number}`);
  }

  describe() {
    const notice = 'keys of a simulated world: not an HSM';
    return { kind: 'pkcs11', label: 'sim', mode: 'wrapped-seed', isHsm: false, notice } as const;
  }

  generateKey(): Promise<{ publicKey: Uint8Array }> {
    return Promise.reject(new TokenError('KEY_EXISTS', 'the keys are there'));
  }

  publicKey(keyName: string): Promise<Uint8Array> {
    return this.#call('public key', () => this.#key(keyName).publicKey.raw.slice());
  }

  sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array> {
    assertSignArguments(message, context);
    // Copies: the caller may change his while the request waits.
    const input = { message: message.slice(), context: context.slice() };
    return this.#call('sign', () => this.#sign(keyName, input));
  }

  wrap(bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    const copy = bytes.slice();
    return this.#call('wrap', () => {
      const nonce = this.#draws.bytes(nonceBytes);
      const key = this.#wrapping(nonce, purpose);
      return concat(nonce, this.#crypto.aeadSeal({ ...key, plaintext: copy }));
    });
  }

  unwrap(wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    const copy = wrapped.slice();
    return this.#call('unwrap', () => {
      const key = this.#wrapping(copy.subarray(0, nonceBytes), purpose);
      const bytes = this.#crypto.aeadOpen({ ...key, ciphertext: copy.subarray(nonceBytes) });
      if (bytes === undefined) throw new TokenError('WRAPPING_INVALID', 'not wrapped for this');
      return bytes;
    });
  }

  /** As the real ones: signs, and judges outside the token. */
  async canary(): Promise<CanaryResult> {
    const startMs = this.#clock.monotonicMs();
    const input = { message: Uint8Array.of(1), context: Uint8Array.of(2) };
    const signature = await this.#call('sign', () => this.#sign('audit', input));
    const { publicKey } = this.#key('audit');
    const holds = this.#crypto.verify(publicKey, { ...input, signature });
    const ignoresContext = this.#crypto.verify(publicKey, {
      message: input.message,
      context: new Uint8Array(),
      signature,
    });
    const failed = { ok: false, code: 'TOKEN_CANARY_FAILED' } as const;
    if (ignoresContext) return { ...failed, reason: 'context-ignored' };
    if (!holds) return { ...failed, reason: 'signature-invalid' };
    return { ok: true, durationMs: this.#clock.monotonicMs() - startMs };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#turn;
  }

  get #crypto(): CryptoProvider {
    return this.#device.options.crypto;
  }

  #call(request: Request, perform: () => Uint8Array): Promise<Uint8Array> {
    if (this.#isClosed) return Promise.reject(unreachable('the token is closed'));
    if (this.#waiting >= queueMax) {
      return Promise.reject(new TokenError('TOKEN_FAILED', `${queueMax} requests wait already`));
    }
    this.#waiting += 1;
    const turn = this.#turn.then(async (): Promise<Uint8Array> => {
      this.#waiting -= 1;
      if (!this.#passes(request, 'before')) return await never();
      const answer = await this.#answer(request, perform);
      return this.#passes(request, 'after') ? answer : await never();
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #answer(request: Request, perform: () => Uint8Array): Promise<Uint8Array> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#attempt(request, perform);
      } catch (error) {
        if (!isOfChild(error) || attempt === attemptsMax || this.#isClosed) throw error;
      }
      this.restarts += 1;
      await this.#pause(this.#draws.between(restartMs.least, restartMs.most));
    }
  }

  /** One request in one child. TOKEN_TIMEOUT and TOKEN_UNREACHABLE: the child is gone. */
  async #attempt(request: Request, perform: () => Uint8Array): Promise<Uint8Array> {
    const { conditions } = this.#device;
    const { least, most } = conditions.latencyMs;
    await this.#pause(least + this.#draws.fraction() * (most - least));
    if (conditions.isDown) throw this.#lost('TOKEN_UNREACHABLE', request, 'nobody can open it');
    if (conditions.sessionLoss > 0 && this.#draws.chance(conditions.sessionLoss)) {
      throw this.#lost('TOKEN_UNREACHABLE', request, 'the session was lost');
    }
    if (conditions.silence === 0 || !this.#draws.chance(conditions.silence)) {
      const answer = perform();
      this.#device.options.trace.note('token', { request, life: this.#life.number });
      return answer;
    }
    if (this.#draws.chance(0.5)) perform();
    await this.#pause(requestTimeoutMs);
    throw this.#lost('TOKEN_TIMEOUT', request, 'no answer');
  }

  #sign(keyName: string, input: { message: Uint8Array; context: Uint8Array }): Uint8Array {
    const { signatures } = this.#device.conditions;
    const { message } = input;
    const context = signatures === 'context-ignored' ? new Uint8Array() : input.context;
    const signature = this.#crypto.sign(this.#key(keyName), { message, context });
    this.#device.signatures += 1;
    if (signatures === 'invalid') signature[0] = (signature[0] ?? 0) ^ 1;
    return signature;
  }

  #lost(code: TokenErrorCode, request: Request, detail: string): TokenError {
    const { number: life } = this.#life;
    this.#device.options.trace.note('token lost', { code, request, life });
    return new TokenError(code, detail);
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(delayMs, resolve);
    });
  }

  #wrapping(nonce: Uint8Array, aad: Uint8Array) {
    const key = this.#crypto.sha3_256(this.#key('orchestration').publicKey.raw);
    return { algorithm: 'AES-256-GCM', key, nonce, aad } as const;
  }

  #key(keyName: string): SigningKey {
    const key = this.#device.options.keys.get(keyName);
    if (key === undefined) throw new TokenError('KEY_UNKNOWN', keyName);
    return key;
  }

  #passes(request: Request, when: CrashPoint['when']): boolean {
    if (!this.#life.isAlive) return false;
    try {
      const point = { kind: 'send', what: `token ${request}`, when } as const;
      this.#device.options.crashes.pass(this.#life, point);
      return true;
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error;
      return false;
    }
  }
}

/** A child that is gone is replaced; any other answer is the token's own. */
function isOfChild(error: unknown): boolean {
  if (!(error instanceof TokenError)) return false;
  return error.code === 'TOKEN_TIMEOUT' || error.code === 'TOKEN_UNREACHABLE';
}

function unreachable(detail: string): TokenError {
  return new TokenError('TOKEN_UNREACHABLE', detail);
}

function never<Answer>(): Promise<Answer> {
  return new Promise(() => undefined);
}

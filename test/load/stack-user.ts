/**
 * Somebody who uses the whole stack as a client does: through layer 3's TLS listener alone, logged in with
 * a key and a second factor, with a capability for every request.
 */
import { totpCode, totpStep } from '#agents/layers/1-identity/totp.ts';
import { ServiceError, type ServiceAnswer } from '#agents/layers/service/service-client.ts';
import type { TlsClient } from '#agents/layers/service/tls-client.ts';
import { capabilitiesCheck, type Audience, type Scope } from '#schemas/authorization.ts';
import { challengeCheck, loginContext, sessionCheck, type Session } from '#schemas/identity.ts';
import { fromBase64Url, toBase64Url, utf8 } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';

const crypto = createNativeProvider();

/** A session is renewed when it has less than this left. */
const renewalMs = 20_000;

export interface Measured {
  /** Which request: `login`, `write-observation`. */
  readonly step: string;
  readonly tookMs: number;
  /** The code of what failed. */
  readonly failure?: string;
}

/** A request failed: what depends on it is not tried. */
export class StepFailed extends Error {
  readonly step: string;
  /** Of what failed. */
  readonly code: string;

  constructor(step: string, code: string, cause?: unknown) {
    super(`${step}: ${code}`, { cause });
    this.step = step;
    this.code = code;
  }
}

export class StackUser {
  readonly subject: string;
  readonly key = crypto.importSigningSeed(crypto.randomBytes(32));
  readonly totpSecret = crypto.randomBytes(64);
  readonly #client: TlsClient;
  readonly #measure: (measured: Measured) => void;
  #session: Session | undefined;
  #loggingIn: Promise<string> | undefined;
  #lastCode = -1;

  constructor(subject: string, client: TlsClient, measure: (measured: Measured) => void) {
    this.subject = subject;
    this.#client = client;
    this.#measure = measure;
  }

  /** One request under a capability of its own. @throws StepFailed */
  async use(
    step: string,
    asked: {
      audience: Audience;
      scope: Scope;
      method: 'GET' | 'PUT' | 'POST';
      path: string;
      body?: unknown;
    },
  ): Promise<unknown> {
    const { audience, scope, ...request } = asked;
    const token = await this.#capability(audience, scope);
    return await this.#step(step, () =>
      this.#client.ask({ ...request, headers: { authorization: `Capability ${token}` } }),
    );
  }

  /** Logs in where there is no session, or none that lasts; once for all who wait. @throws StepFailed */
  async logIn(): Promise<string> {
    this.#loggingIn ??= this.#logInOnce().finally(() => {
      this.#loggingIn = undefined;
    });
    return await this.#loggingIn;
  }

  async #logInOnce(): Promise<string> {
    const nowMs = Date.now();
    const session = this.#session;
    if (session !== undefined && session.expiresAtMs - nowMs > renewalMs) return session.token;
    const code = totpStep(nowMs);
    // A code is good for one login: the session that there is lasts until there is another code.
    if (code <= this.#lastCode && session !== undefined && session.expiresAtMs > nowMs + 1_000) {
      return session.token;
    }
    const challenge = await this.#step('challenge', () =>
      this.#client.ask({
        method: 'POST',
        path: '/identity/v1/challenges',
        body: { subject: this.subject },
      }),
    );
    if (!challengeCheck.check(challenge)) throw new Error('no challenge');
    const message = fromBase64Url(challenge.nonce) ?? new Uint8Array();
    const body = {
      challengeId: challenge.challengeId,
      signature: toBase64Url(crypto.sign(this.key, { message, context: utf8(loginContext) })),
      otp: totpCode(this.totpSecret, code),
    };
    const given = await this.#step('login', () =>
      this.#client.ask({ method: 'POST', path: '/identity/v1/sessions', body }),
    );
    if (!sessionCheck.check(given)) throw new Error('no session');
    this.#lastCode = code;
    this.#session = given;
    return given.token;
  }

  async #capability(audience: Audience, scope: Scope): Promise<string> {
    const session = await this.logIn();
    const given = await this.#step('capability', () =>
      this.#client.ask({
        method: 'POST',
        path: '/authorization/v1/capabilities',
        body: { session, scope: [scope], audience },
      }),
    );
    if (!capabilitiesCheck.check(given)) throw new Error('no capability');
    return given.tokens[0] ?? '';
  }

  async #step(step: string, ask: () => Promise<ServiceAnswer>): Promise<unknown> {
    const beganMs = performance.now();
    const failure = (code: string, cause?: unknown): StepFailed => {
      this.#measure({ step, tookMs: performance.now() - beganMs, failure: code });
      return new StepFailed(step, code, cause);
    };
    let answer: ServiceAnswer;
    try {
      answer = await ask();
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      throw failure(error.code, error);
    }
    if (answer.status === 'refused') throw failure(answer.code);
    this.#measure({ step, tookMs: performance.now() - beganMs });
    return answer.body;
  }
}

/**
 * Somebody who keeps what was given out before the first rotation: a session, capabilities, the certificate
 * that the listener showed; and a thief, who took the key of sessions. What was given out holds up the
 * destruction of its key, by design, so it is accepted until its own end, and only then does the key go:
 * it is shown all the while. After that a session under the stolen key is refused although it is in time,
 * and no layer names the old keys any more.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { join } from 'node:path';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { ServiceError } from '#agents/layers/service/service-client.ts';
import type { TlsClient } from '#agents/layers/service/tls-client.ts';
import { memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';
import { capabilitiesCheck } from '#schemas/authorization.ts';
import { tlsGroup } from '#shared/core/tls-parameters.ts';
import { enrol } from './enrolment.ts';
import { listeningAt } from './front-door.ts';
import { StackUser } from './stack-user.ts';
import { StolenKey } from './stolen-key.ts';
import { isAcceptedInTime } from './verdicts.ts';

const subject = 'witness';
const audience = 'encryption';
const capabilitiesAtOnce = 16;
const refusedSession = ['SESSION_EXPIRED', 'SESSION_KEY_UNKNOWN'];
const refusedCapability = ['CAPABILITY_EXPIRED', 'CAPABILITY_KEY_UNKNOWN'];
/** What is over sooner than this after a rotation was not looked at in its overlap. */
const lookMs = 5_000;
const showEveryMs = 4_000;
/** Where the keys of tokens are named. */
const keyLists = ['/identity/v1/jwks', '/authorization/v1/capability-keys'];

/** A session and capabilities, and until when they are good. */
interface Given {
  readonly session: string;
  readonly capabilities: string[];
  readonly endsAtMs: { readonly session: number; readonly capability: number };
  /** Ids of the keys that they are signed with. */
  readonly keyIds: readonly string[];
  readonly certificate: string;
}

export class Witness {
  readonly #layout: MeshLayout;
  readonly #client: TlsClient;
  readonly #user: StackUser;
  readonly #early: string[] = [];
  #shown = { sessions: 0, capabilities: 0 };
  #stolen: StolenKey | undefined;
  #given: Given | undefined;
  #watching: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(layout: MeshLayout, client: TlsClient) {
    this.#layout = layout;
    this.#client = client;
    this.#user = new StackUser(subject, client, () => undefined);
  }

  /** When the last of what was given out is over, milliseconds since 1970: no old key goes before. */
  get lastEndMs(): number {
    const { session, capability } = this.#held().endsAtMs;
    return Math.max(session, capability);
  }

  get summary(): string {
    const { sessions, capabilities } = this.#shown;
    return `shown until their end: a session ${sessions} times, ${capabilities} capabilities`;
  }

  /** Before a rotation; again where that one took longer than tokens live. */
  async start(): Promise<void> {
    await enrol(this.#layout, [{ user: this.#user, role: 'keeper' }]);
    const session = await this.#user.logIn();
    const capabilities = await this.#capabilitiesBy(session, capabilitiesAtOnce);
    if (!Array.isArray(capabilities)) throw new Error(`no capabilities: ${capabilities}`);
    const [capability = ''] = capabilities;
    await this.#stolen?.close();
    this.#stolen = await StolenKey.steal(join(this.#layout.serviceDirectory(1), memberFiles.state));
    this.#given = {
      session,
      capabilities,
      endsAtMs: { session: endOf(session), capability: endOf(capability) },
      keyIds: [session, capability].map((token) => decodeProtectedHeader(token).kid ?? ''),
      certificate: await this.#shownCertificate(),
    };
    const forged = await this.#capabilitiesBy(await this.#stolen.session(subject), 1);
    if (!Array.isArray(forged)) throw new Error(`the thief makes no sessions: ${forged}`);
  }

  /**
   * Right after the rotation, whatever was given out before is accepted, and goes on being until its
   * end, which is looked at from now on. `late` where it is nearly over already.
   */
  async duringOverlap(): Promise<'late' | readonly string[]> {
    const { endsAtMs, keyIds } = this.#held();
    const isLate = (): boolean =>
      Math.min(endsAtMs.session, endsAtMs.capability) - Date.now() < lookMs;
    if (isLate()) return 'late';
    await this.#show();
    const faults = this.#early.splice(0);
    if (isLate() && faults.length > 0) return 'late';
    const again = await this.#capabilitiesBy(await this.#stolenSession(), 1);
    if (!Array.isArray(again)) faults.push(`a session under the key of before: ${again}`);
    const named = await this.#named();
    const missing = keyIds.filter((keyId) => !named.includes(keyId));
    faults.push(...missing.map((keyId) => `key ${keyId} is named no more`));
    this.#watching = this.#watch();
    return faults;
  }

  /** What was wrong until the end of what was given out, and what of it still counts after it. */
  async afterOverlap(): Promise<string[]> {
    this.#stopping = true;
    await this.#watching;
    const { session, capabilities, keyIds, certificate } = this.#held();
    const faults = this.#early.map((what) => `refused before its end: ${what}`);
    const accepted = (what: string): number => faults.push(`accepted after its overlap: ${what}`);
    const code = await this.#useOf(capabilities.at(-1) ?? '');
    if (!refusedCapability.includes(code)) accepted(`a capability (${code})`);
    const given = await this.#capabilitiesBy(session, 1);
    if (Array.isArray(given) || !refusedSession.includes(given))
      accepted(`a session (${String(given)})`);
    const forged = await this.#capabilitiesBy(await this.#stolenSession(), 1);
    if (forged !== 'SESSION_KEY_UNKNOWN') {
      accepted(`a session that is in time, under the key that was stolen (${String(forged)})`);
    }
    if ((await this.#shownCertificate()) === certificate) accepted('the certificate');
    const named = await this.#named();
    for (const keyId of keyIds.filter((one) => named.includes(one))) accepted(`key ${keyId}`);
    return faults;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#watching;
    await this.#stolen?.close();
    this.#stolen = undefined;
  }

  async #watch(): Promise<void> {
    while (!this.#stopping && Date.now() < this.lastEndMs) {
      await this.#show();
      await sleep(showEveryMs);
    }
  }

  /** Once each, while they are in time; one capability is left for what comes after. */
  async #show(): Promise<void> {
    const { session, capabilities, endsAtMs } = this.#held();
    if (Date.now() < endsAtMs.session) {
      const given = await told(() => this.#capabilitiesBy(session, 1));
      this.#shown.sessions += 1;
      this.#note('a session', Array.isArray(given) ? 'done' : given, endsAtMs.session);
    }
    if (capabilities.length < 2 || Date.now() >= endsAtMs.capability) return;
    const code = await told(() => this.#useOf(capabilities.shift() ?? ''));
    this.#shown.capabilities += 1;
    this.#note('a capability', code, endsAtMs.capability);
  }

  #note(what: string, code: string, endsAtMs: number): void {
    const tried = { code, endsAtMs, answeredAtMs: Date.now() };
    if (!isAcceptedInTime(tried)) this.#early.push(`${what}: ${code}`);
  }

  #held(): Given {
    if (this.#given === undefined) throw new Error('nothing was given out yet');
    return this.#given;
  }

  async #stolenSession(): Promise<string> {
    if (this.#stolen === undefined) throw new Error('nothing was stolen yet');
    return await this.#stolen.session(subject);
  }

  /** Of a session; a code where it is refused. */
  async #capabilitiesBy(session: string, count: number): Promise<string[] | string> {
    const answer = await this.#client.ask({
      method: 'POST',
      path: '/authorization/v1/capabilities',
      body: { session, scope: ['encryption:use'], audience, count },
    });
    if (answer.status === 'refused') return answer.code;
    if (!capabilitiesCheck.check(answer.body)) throw new Error('no capabilities');
    return [...answer.body.tokens];
  }

  /** `done`, or the code of the refusal. */
  async #useOf(capability: string): Promise<string> {
    const answer = await this.#client.ask({
      method: 'POST',
      path: '/encryption/v1/objects/encrypt',
      headers: { authorization: `Capability ${capability}` },
      body: { plaintext: 'YQ', context: subject },
    });
    return answer.status === 'refused' ? answer.code : 'done';
  }

  /** What layers 1 and 2 say about the keys of tokens. */
  async #named(): Promise<string> {
    const said: string[] = [];
    for (const path of keyLists) {
      const answer = await this.#client.ask({ method: 'GET', path });
      if (answer.status === 'refused') throw new Error(`${path}: ${answer.code}`);
      said.push(JSON.stringify(answer.body));
    }
    return said.join('\n');
  }

  /** A fingerprint of what the listener shows. */
  async #shownCertificate(): Promise<string> {
    const { host, port, roots } = listeningAt(this.#layout);
    const socket = connect({ host, port, ca: roots, servername: 'localhost', ecdhCurve: tlsGroup });
    try {
      await once(socket, 'secureConnect');
      return socket.getPeerCertificate().fingerprint512;
    } finally {
      socket.destroy();
    }
  }
}

/** Whoever does not answer is told as a refusal is. */
async function told<Result>(ask: () => Promise<Result>): Promise<Result | string> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof ServiceError) return error.code;
    throw error;
  }
}

/** In milliseconds since 1970. */
function endOf(token: string): number {
  return (decodeJwt(token).exp ?? 0) * 1_000;
}

/**
 * Somebody who keeps what was given out before the first rotation: a session, capabilities, the certificate
 * that the listener showed. It is accepted through the overlap, and refused after it.
 */
import { once } from 'node:events';
import { connect } from 'node:tls';
import type { TlsClient } from '#agents/layers/service/tls-client.ts';
import type { MeshLayout } from '#cli/mesh/layout.ts';
import { capabilitiesCheck } from '#schemas/authorization.ts';
import { tlsGroup } from '#shared/core/tls-parameters.ts';
import { enrol } from './enrolment.ts';
import { frontDoor, listeningAt } from './front-door.ts';
import { StackUser } from './stack-user.ts';

const subject = 'witness';
const audience = 'encryption';
const refusedSession = ['SESSION_EXPIRED', 'SESSION_KEY_UNKNOWN'];
const refusedCapability = ['CAPABILITY_EXPIRED', 'CAPABILITY_KEY_UNKNOWN'];

export class Witness {
  readonly #layout: MeshLayout;
  readonly #client: TlsClient;
  readonly #user: StackUser;
  #session = '';
  #capabilities: readonly string[] = [];
  #certificate = '';

  constructor(layout: MeshLayout) {
    this.#layout = layout;
    this.#client = frontDoor(layout);
    this.#user = new StackUser(subject, this.#client, () => undefined);
  }

  async start(): Promise<void> {
    await enrol(this.#layout, [{ user: this.#user, role: 'keeper' }]);
    this.#session = await this.#user.logIn();
    this.#certificate = await this.#shownCertificate();
    const given = await this.#askForCapabilities(3);
    if (!Array.isArray(given)) throw new Error(`no capabilities: ${given}`);
    this.#capabilities = given;
  }

  /** What is wrong right after a rotation: nothing that was given out before it is refused. */
  async duringOverlap(): Promise<string[]> {
    const [capability = ''] = this.#capabilities;
    const faults: string[] = [];
    const code = await this.#useOf(capability);
    if (code !== 'done') faults.push(`a capability of before: ${code}`);
    const given = await this.#askForCapabilities(1);
    if (!Array.isArray(given)) faults.push(`a session of before: ${given}`);
    return faults;
  }

  /** What is wrong after it: whatever is still accepted. */
  async afterOverlap(): Promise<string[]> {
    const faults: string[] = [];
    const [, capability = ''] = this.#capabilities;
    const code = await this.#useOf(capability);
    if (!refusedCapability.includes(code)) faults.push(`an old capability: ${code}`);
    const given = await this.#askForCapabilities(1);
    if (Array.isArray(given) || !refusedSession.includes(given)) {
      faults.push(`an old session: ${String(given)}`);
    }
    if ((await this.#shownCertificate()) === this.#certificate) faults.push('the old certificate');
    return faults;
  }

  stop(): void {
    this.#client.close();
  }

  /** Of the session of before; a code where it is refused. */
  async #askForCapabilities(count: number): Promise<string[] | string> {
    const answer = await this.#client.ask({
      method: 'POST',
      path: '/authorization/v1/capabilities',
      body: { session: this.#session, scope: ['encryption:use'], audience, count },
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

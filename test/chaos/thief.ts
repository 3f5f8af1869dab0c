/**
 * Somebody who stole everything that one layer agent or operator has: its NKEY, its channel secrets and
 * its identity key. Tries what the bus should not allow, and makes frames that a receiver should refuse.
 */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import {
  connect,
  errors,
  headers,
  nkeyAuthenticator,
  type NatsConnection,
} from '@nats-io/transport-node';
import type { EventBody } from '#schemas/events.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { inboxPrefix, subjectsOf, type Subjects } from '#shared/bus/subjects.ts';
import { fromHex } from '#shared/crypto/bytes.ts';
import { openFrame, parseFrame } from '#shared/crypto/envelope.ts';
import { SenderChain, type EventInput } from '#shared/crypto/sender-chain.ts';
import { bootAgent, loadIdentity, type Identity } from '#shared/runtime/boot.ts';
import { askEpochSecrets } from '#shared/runtime/epoch-questions.ts';
import type { TestMesh } from '../support/mesh.ts';

type Report = EventBody<'step-reported'>;

const minuteMs = 60_000;

export class Thief {
  readonly subjects: Subjects;
  readonly layer: number;
  readonly #identity: Identity;
  readonly #connection: NatsConnection;

  private constructor(identity: Identity, connection: NatsConnection, layer: number) {
    this.#identity = identity;
    this.#connection = connection;
    this.layer = layer;
    this.subjects = subjectsOf(identity.trust.mesh);
  }

  static async of(
    { layout, mesh }: Pick<TestMesh, 'layout' | 'mesh'>,
    agentId: string,
    kind: AgentKind = 'layer',
  ): Promise<Thief> {
    const identity = await loadIdentity(layout.configFile({ id: agentId, kind }));
    const { config, resolve } = identity;
    const connection = await connect({
      servers: `127.0.0.1:${mesh.port}`,
      authenticator: nkeyAuthenticator(await readFile(resolve(config.nkeySeedFile))),
      inboxPrefix: inboxPrefix(agentId),
      maxReconnectAttempts: -1,
    });
    return new Thief(identity, connection, config.layer ?? 0);
  }

  /** Takes the secrets of the agent's channels: whoever has its keys is given them on asking. */
  async join({ layout }: Pick<TestMesh, 'layout'>): Promise<void> {
    const { agentId } = this;
    const agent = await bootAgent(layout.configFile({ id: agentId, kind: 'layer' }));
    try {
      const known = { announcementOf: () => undefined };
      const asked = { giver: 'signer', wanted: [] };
      const found = await askEpochSecrets({ ...agent, agentId }, known, asked);
      for (const entry of found?.given ?? []) {
        this.#identity.keyring.hold(entry);
        if (entry.standing === 'active') {
          this.#identity.keyring.activate(entry.channel, entry.epoch);
        }
      }
    } finally {
      await agent.bus.close();
    }
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  get agentId(): string {
    return this.#identity.config.agentId;
  }

  get reportSubject(): string {
    return this.subjects.report(this.layer, this.agentId);
  }

  /** Whether the server lets the thief publish there; what it publishes is empty. */
  async mayPublish(subject: string): Promise<boolean> {
    try {
      await this.#connection.request(subject, new Uint8Array(), { timeout: 2_000 });
      return true;
    } catch (error) {
      return !(error instanceof Error && error.cause instanceof errors.PermissionViolationError);
    }
  }

  async maySubscribe(subject: string): Promise<boolean> {
    const subscription = this.#connection.subscribe(subject, { callback: () => undefined });
    await this.#connection.flush();
    const isOpen = !subscription.isClosed();
    subscription.unsubscribe();
    return isOpen;
  }

  /** Publishes as a client of the server may; true where a stream took it. */
  async put(subject: string, data: Uint8Array, messageId: string): Promise<boolean> {
    const named = headers();
    named.set('Nats-Msg-Id', messageId);
    const answer = await this.#connection.request(subject, data, {
      headers: named,
      timeout: 5_000,
    });
    const { seq } = answer.json<{ seq?: number }>();
    return seq !== undefined && seq > 0;
  }

  /** Asks something that the agent may ask, and has the server send the answer to `reply`. */
  async misdirect(api: string, reply: string): Promise<void> {
    this.#connection.publish(api, new Uint8Array(), { reply });
    await this.#connection.flush();
  }

  /** What one of the agent's own messages says. */
  read(frame: Uint8Array): unknown {
    const parsed = parseFrame(frame);
    if (!parsed.ok) throw new Error(parsed.code);
    const { crypto, keyring } = this.#identity;
    const { channel, epoch } = parsed.frame.header;
    const secret = keyring.secretOf({ channel, epoch });
    const opened = secret === undefined ? undefined : openFrame(crypto, parsed.frame, secret);
    if (opened?.ok !== true) throw new Error('not for this agent');
    return opened.body;
  }

  /** Offers everyone a document in the victim's name, whatever it is; true where the bus took it. */
  async offer(document: Uint8Array): Promise<boolean> {
    const subject = this.subjects.trust(this.agentId);
    const to = { audience: 'notices', channel: 'notices', subject };
    const body = { document: new Uint8Array(document) };
    const frame = this.#sealed({ ...to, type: 'document-offered', body });
    return this.put(subject, frame, randomBytes(16).toString('hex'));
  }

  /** A report in the agent's name, sealed with its keys, but for what `differs` says. */
  report(body: Report, differs: Partial<EventInput> = {}, as: string = this.agentId): Uint8Array {
    const channel = `layer-${this.layer}`;
    const to = { audience: channel, channel, subject: this.reportSubject };
    return this.#sealed({ ...to, type: 'step-reported', body, ...differs }, as);
  }

  #sealed(
    input: Pick<EventInput, 'audience' | 'channel' | 'subject' | 'type' | 'body'> &
      Partial<EventInput>,
    as: string = this.agentId,
  ): Uint8Array {
    const { crypto, trust, signingKey, keyring } = this.#identity;
    const nowMs = Date.now();
    const chain = new SenderChain({ crypto, sender: as, signingKey, keyring });
    return chain.seal({
      lane: 'control',
      registryVersion: trust.registry.version,
      registryDigest: fromHex(trust.registryDigest) ?? new Uint8Array(32),
      policyVersion: trust.policy.version,
      policyDigest: fromHex(trust.policyDigest) ?? new Uint8Array(32),
      schemaVersion: 1,
      timeMs: nowMs,
      expiresMs: nowMs + minuteMs,
      eventId: crypto.randomBytes(16).reduce((text, byte) => text + byte.toString(16), 'e'),
      ...input,
    }).frame;
  }
}

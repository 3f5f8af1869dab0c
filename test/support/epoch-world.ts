/**
 * Members, orchestrators and a signer of a small mesh that do nothing but epochs, over the in-memory bus:
 * real keys and frames, or those of the simulator. The signer states what is asked for without the checks that it has of its own
 * (test/unit/signer), so that a thief's announcements can be made too.
 */

import { EpochDesk } from '#agents/orchestrator/epoch-desk.ts';
import { EpochDriver } from '#agents/orchestrator/epoch-driver.ts';
import type {
  EpochAnnouncement,
  EpochAnnouncementBody,
  EpochCapsule,
  EpochEntry,
} from '#schemas/epoch.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf, type Subjects } from '#shared/bus/subjects.ts';
import { channelsOf, noticesChannel } from '#shared/core/channels.ts';
import { openSecrets, type HybridKeyPair } from '#shared/crypto/epoch-capsule.ts';
import { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import { localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import { giveEpochSecrets } from '#shared/runtime/epoch-questions.ts';
import { EpochMember } from '#shared/runtime/epoch-member.ts';
import type { EpochStore, HeldEpoch } from '#shared/runtime/epoch-store.ts';
import type { AnyReceivedEvent, Answer, Exchange } from '#shared/runtime/exchange.ts';
import { Notices } from '#shared/runtime/notices.ts';
import { makeCheapWorld } from './cheap-world.ts';
import { makeWorld, quiet, type World, type WorldOptions } from './world.ts';
import { patienceMs } from './patience.ts';

export interface Actor {
  readonly agentId: string;
  readonly bus: Bus;
  readonly exchange: Exchange;
  readonly keyring: EpochKeyring;
  readonly epochs: EpochMember;
  readonly driver?: EpochDriver;
  stop(): Promise<void>;
}

/** A store that outlives the member, as the vault does. */
export class StoreInMemory implements EpochStore {
  readonly kept = new Map<string, HeldEpoch>();

  load(): Promise<readonly HeldEpoch[]> {
    const copies = [...this.kept.values()].map((held) => ({
      ...held,
      secret: new Uint8Array(held.secret),
    }));
    return Promise.resolve(copies);
  }

  keep(held: HeldEpoch): Promise<void> {
    const name = `${held.channel}/${held.epoch}`;
    this.kept.set(name, { ...this.kept.get(name), ...held, secret: new Uint8Array(held.secret) });
    return Promise.resolve();
  }

  drop({ channel, epoch }: { channel: string; epoch: number }): Promise<void> {
    this.kept.delete(`${channel}/${epoch}`);
    return Promise.resolve();
  }
}

export class EpochWorld {
  readonly world: World;
  readonly subjects: Subjects;
  readonly vault = new StoreInMemory();
  readonly actors = new Map<string, Actor>();
  /** Announcements that the signer stated, in order. */
  readonly stated: EpochAnnouncementBody[] = [];

  /** What the signer takes for a statement. */
  statingMs = 0;
  /** By sequence in the stream, what was opened once. */
  readonly #opened = new Map<number, AnyReceivedEvent>();

  private constructor(world: World) {
    this.world = world;
    this.subjects = subjectsOf(world.mesh);
  }

  static async make(options: WorldOptions = {}): Promise<EpochWorld> {
    return new EpochWorld(await makeWorld(options));
  }

  /** Under the simulator's cryptography, for tests about anything else. */
  static async makeCheap(options: WorldOptions = {}): Promise<EpochWorld> {
    return new EpochWorld(await makeCheapWorld(options));
  }

  /** Starts actors side by side and waits until each holds an epoch of all its channels. */
  async start(...agentIds: readonly string[]): Promise<void> {
    await this.begin(...agentIds);
    await Promise.all(agentIds.map((id) => this.actor(id).epochs.ready()));
  }

  async begin(...agentIds: readonly string[]): Promise<void> {
    await Promise.all(agentIds.map((id) => this.#begin(id)));
  }

  actor(agentId: string): Actor {
    const actor = this.actors.get(agentId);
    if (actor === undefined) throw new Error(`${agentId} does not run`);
    return actor;
  }

  async end(agentId: string): Promise<void> {
    const actor = this.actor(agentId);
    this.actors.delete(agentId);
    await actor.stop();
  }

  async stop(): Promise<void> {
    for (const agentId of this.actors.keys()) await this.end(agentId);
  }

  /** Waits for something that the actors bring about. */
  async until(what: string, isSo: () => boolean, timeoutMs = patienceMs / 3): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    while (!isSo()) {
      if (performance.now() > deadlineMs) throw new Error(`it never came to be: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** The signer's word for whatever it is asked. */
  async state(body: EpochAnnouncementBody) {
    const key = this.world.keys.get('orchestration');
    if (key === undefined) throw new Error('no orchestration key');
    this.stated.push(body);
    const delayMs = this.statingMs;
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    return signDocument(body, [localSigner(this.world.crypto, key)]);
  }

  /** An operator's request, as the orchestrators would be given it; his clock may be another. */
  async rekey(channel: string, aheadMs = 0): Promise<void> {
    const { clock, crypto, broker } = this.world;
    const bus = this.world.bus('op-1');
    const keyring = new EpochKeyring(crypto, this.world.mesh);
    const exchange = this.world.principal('op-1', {
      bus,
      keyring,
      clock: {
        nowMs: () => clock.nowMs() + aheadMs,
        monotonicMs: () => clock.monotonicMs(),
        after: (delayMs, run) => clock.after(delayMs, run),
      },
    });
    const subject = this.subjects.request('op-1');
    const sent = await exchange.publish({
      type: 'epoch-rotation-requested',
      subject,
      channel: noticesChannel,
      body: { requestId: 'test', channel, cause: 'operator', reason: 'test' },
    } as never);
    await bus.close();
    const { lastSequence: sequence } = broker.stream('GYRE_CONTROL');
    for (const { driver, exchange: theirs } of this.actors.values()) {
      const event = driver === undefined ? undefined : theirs.openRecord(sent.frame);
      if (event?.type === 'epoch-rotation-requested') driver?.request({ ...event, sequence });
    }
  }

  /** Everyone learns at once that an agent is revoked. */
  async revoke(agentId: string): Promise<void> {
    const { trust, keys, mesh, clock, crypto } = this.world;
    const operators = trust.agents().filter(({ kind }) => kind === 'operator');
    const signers = operators.flatMap((operator) => {
      const key = keys.get(operator.agentId);
      return key === undefined ? [] : [localSigner(crypto, key)];
    });
    const body = {
      kind: 'revocation' as const,
      mesh,
      agent_id: agentId,
      key_id: trust.agent(agentId)?.keyId ?? '',
      reason: 'test',
      issued_at: new Date(clock.nowMs()).toISOString(),
    };
    const adoption = trust.adopt(await signDocument(body, signers), clock.nowMs());
    if (adoption.status !== 'adopted') throw new Error(`not revoked: ${JSON.stringify(adoption)}`);
  }

  /** Appends an announcement, whoever vouches for it. */
  async announce(
    agentId: string,
    announcement: EpochAnnouncement,
    capsules: readonly EpochCapsule[],
  ): Promise<void> {
    const { channel, epoch } = announcement.body;
    const event = { type: 'epoch-announced' as const, announcement, capsules: [...capsules] };
    await this.append(agentId, channel, epoch, event);
  }

  /** Appends an entry on top of whatever is there, as often as it takes. */
  async append(
    agentId: string,
    channel: string,
    epoch: number,
    event: EpochEntry['event'],
  ): Promise<void> {
    const { exchange, bus } = this.actor(agentId);
    const subject = this.subjects.sagaEpoch(channel);
    const body = { channel, epoch, event };
    for (;;) {
      const last = await bus.lastMessage('GYRE_CONTROL', subject);
      const { status } = await exchange.append(
        { type: 'epoch-entry', subject, channel: noticesChannel, body },
        last?.sequence ?? 0,
      );
      if (status === 'stored') return;
    }
  }

  /** Who announced the last epoch of a channel. */
  authorOf(channel: string): string {
    for (const { driver } of this.actors.values()) {
      const log = driver?.logs().find((each) => each.channel === channel);
      if (log?.author !== undefined) return log.author;
    }
    throw new Error(`no orchestrator knows who announced ${channel}`);
  }

  /** What an agent offers for a channel now. */
  prekeyOf(agentId: string, channel: string): { prekeyId: string; publicKey: Uint8Array } {
    const found = this.#events(this.subjects.prekey(agentId)).findLast(
      (event) => event.type === 'prekeys-published',
    );
    const prekey = found?.body.prekeys.find((each) => each.channel === channel);
    if (prekey === undefined) throw new Error(`${agentId} offers nothing for ${channel}`);
    return prekey;
  }

  /** Types of the entries of a channel's log. */
  entriesOf(channel: string): string[] {
    return this.#events(this.subjects.sagaEpoch(channel)).flatMap((event) =>
      event.type === 'epoch-entry' ? [event.body.event.type] : [],
    );
  }

  /** The channels that an answer to `epoch-secrets` gives. */
  channelsIn(answer: Answer, asker: string, key: HybridKeyPair): string[] {
    if (!answer.ok) throw new Error(answer.reason);
    const { mesh, crypto } = this.world;
    const given = openSecrets(crypto, { mesh, asker, key, answer: answer.result as never });
    return (given ?? []).map(({ channel }) => channel).toSorted();
  }

  /** Everything on a subject, opened as history. */
  #events(subject: string): AnyReceivedEvent[] {
    const { exchange } = this.actor('auditor');
    const stream = this.world.broker.stream('GYRE_CONTROL');
    const found: AnyReceivedEvent[] = [];
    for (let sequence = 1; sequence <= stream.lastSequence; sequence += 1) {
      const message = stream.get(sequence);
      if (message?.subject !== subject) continue;
      const event = this.#opened.get(sequence) ?? exchange.openRecord(message.data);
      if (event === undefined) continue;
      this.#opened.set(sequence, event);
      found.push(event);
    }
    return found;
  }

  async #begin(agentId: string): Promise<void> {
    const { world, subjects } = this;
    const { clock, crypto, trust } = world;
    const self = trust.agent(agentId);
    if (self === undefined) throw new Error(`${agentId} is not enrolled`);
    const bus = world.bus(agentId);
    const keyring = new EpochKeyring(crypto, world.mesh);
    const exchange = world.principal(agentId, { bus, keyring });
    const shared = { agentId, bus, exchange, keyring, crypto, trust, clock, subjects, log: quiet };
    const mine = channelsOf(self);
    const epochs = new EpochMember({ ...shared, channels: mine, hasPrekeys: true });
    const ports = { ...shared, epochs, takeoverMs: 300 };
    const driver = self.kind === 'orchestrator' ? new EpochDriver(ports) : undefined;
    this.actors.set(agentId, {
      agentId,
      bus,
      exchange,
      keyring,
      epochs,
      ...(driver === undefined ? {} : { driver }),
      stop: async () => {
        await driver?.stop();
        await bus.close();
        await epochs.stop();
      },
    });
    if (driver === undefined) {
      const { kind } = self;
      const catchUp = (): Promise<void> => Promise.resolve();
      const notices = new Notices({ ...shared, kind, catchUp, admits: () => true });
      notices.on('epoch-entry', (event) => epochs.onEntry(event));
      await notices.start();
    } else {
      const desk = new EpochDesk(ports, driver);
      await exchange.answer((query, asker) => {
        const refused = { ok: false, code: 'ORCH-8012', reason: 'not of epochs' } as const;
        return Promise.resolve(desk.answer(query, asker) ?? refused);
      });
      await driver.start();
    }
    if (self.kind === 'signer') await this.#sign({ exchange, keyring, epochs });
    await epochs.start(self.kind === 'signer' ? this.vault : undefined);
    driver?.sagasAreRead(() => []);
  }

  async #sign({ exchange, keyring, epochs }: Pick<Actor, 'exchange' | 'keyring' | 'epochs'>) {
    const { trust, crypto } = this.world;
    await exchange.answer(async (query, asker) => {
      if (query.ask === 'epoch-secrets') {
        const known = epochs.announcements;
        return giveEpochSecrets({ crypto, trust, keyring, known }, asker, query);
      }
      if (query.ask === 'sign-statement' && query.statement.kind === 'epoch_announcement') {
        return { ok: true, result: await this.state(query.statement) };
      }
      return { ok: false, code: 'ORCH-8012', reason: 'not of epochs' };
    });
  }
}

/**
 * A mesh whose epochs turn, with everything on real disks: the real signer with its vault over a real
 * token, the real auditor with its log, orchestrators that drive epochs, layer agents that say things.
 * All traffic and every secret drawn for epochs is recorded, so that a test knows what a thief looks for.
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Auditor } from '#agents/auditor/auditor.ts';
import { EpochDesk } from '#agents/orchestrator/epoch-desk.ts';
import { EpochDriver } from '#agents/orchestrator/epoch-driver.ts';
import { CheckpointMemory } from '#agents/signer/checkpoint-memory.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { EpochVault } from '#agents/signer/epoch-vault.ts';
import { Signer } from '#agents/signer/signer.ts';
import type { Token } from '#shared/runtime/token/token.ts';
import type { StepReported } from '#schemas/steps.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { streamSubjects, subjectsOf, type Subjects } from '#shared/bus/subjects.ts';
import { archiveChannel, channelsOf } from '#shared/core/channels.ts';
import { parseFrame } from '#shared/crypto/envelope.ts';
import { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import { EpochMember } from '#shared/runtime/epoch-member.ts';
import { Notices } from '#shared/runtime/notices.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { forwardingTo } from '#shared/bus/forwarding-bus.ts';
import { crypto, makeWorld, quiet, type World } from './world.ts';
import { patienceMs } from './patience.ts';

export interface SecretMember {
  readonly agentId: string;
  readonly exchange: Principal;
  readonly keyring: EpochKeyring;
  stop(): Promise<void>;
}

/** Longer than the signer is waited for (`epoch_accept_ms`, four times). */
const memberPatienceMs = 25_000;

export class SecrecyMesh {
  readonly world: World;
  readonly subjects: Subjects;
  readonly folder: string;
  readonly members = new Map<string, SecretMember>();
  /** Every frame that went over the bus, stored or not. */
  readonly traffic: Uint8Array[] = [];
  /** What was drawn at random for epochs: secrets (32), hybrid keys (96), ephemeral keys (32). */
  readonly drawn: Uint8Array[] = [];
  readonly #drivers: EpochDriver[] = [];
  readonly #openToken: () => Promise<Token>;
  readonly #slowMs: number;
  readonly #provider = { ...crypto, randomBytes: (count: number) => this.#draw(count) };

  private constructor(world: World, openToken: () => Promise<Token>, slowMs: number) {
    this.world = world;
    this.#slowMs = slowMs;
    this.subjects = subjectsOf(world.mesh);
    this.folder = mkdtempSync(path.join(tmpdir(), 'gyre-secrecy-'));
    this.#openToken = openToken;
  }

  /** `slowMs`: for how long the token keeps no channel secret after it was first asked to. */
  static async start(
    agentIds: readonly string[],
    openToken: () => Promise<Token>,
    slowMs = 0,
  ): Promise<SecrecyMesh> {
    const mesh = new SecrecyMesh(await makeWorld(), openToken, slowMs);
    await mesh.#record();
    const begun = agentIds.map((id) => mesh.#begin(id));
    if (slowMs > 0) {
      await mesh.until('an announcement', () => mesh.traffic.some(isEpochEntry));
      mesh.pass(memberPatienceMs);
    }
    await Promise.all(begun);
    await mesh.until('first epochs', () => mesh.isBeyond(new Map()));
    return mesh;
  }

  stateOf(agentId: string): string {
    const directory = path.join(this.folder, agentId);
    mkdirSync(directory, { recursive: true });
    return directory;
  }

  member(agentId: string): SecretMember {
    const member = this.members.get(agentId);
    if (member === undefined) throw new Error(`${agentId} does not run`);
    return member;
  }

  /** The epoch in use of each channel, by the member that is furthest. */
  inUse(): Map<string, number> {
    const found = new Map<string, number>();
    for (const { agentId, keyring } of this.members.values()) {
      for (const channel of this.#channelsOf(agentId)) {
        const epoch = keyring.currentEpoch(channel) ?? 0;
        found.set(channel, Math.max(epoch, found.get(channel) ?? 0));
      }
    }
    return found;
  }

  /** Whether every member uses later epochs than these in all its channels. */
  isBeyond(epochs: ReadonlyMap<string, number>): boolean {
    return [...this.members.values()].every(({ agentId, keyring }) =>
      this.#channelsOf(agentId).every(
        (channel) => (keyring.currentEpoch(channel) ?? 0) > (epochs.get(channel) ?? 0),
      ),
    );
  }

  /** Whether nobody holds these epochs any more, or one before them. */
  isGone(epochs: ReadonlyMap<string, number>): boolean {
    return [...this.members.values()].every(({ keyring }) =>
      keyring.held().every(({ channel, epoch }) => epoch > (epochs.get(channel) ?? 0)),
    );
  }

  /** Time goes by. Timers run by another clock, so the drivers are told to look. */
  pass(ms: number): void {
    this.world.clock.offsetMs += ms;
    for (const driver of this.#drivers) driver.sagasAreRead(() => []);
  }

  async until(what: string, isSo: () => boolean, timeoutMs = patienceMs): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    while (!isSo()) {
      if (performance.now() > deadlineMs) throw new Error(`it never came to be: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** A report of a layer agent, as it goes to the orchestrators. */
  report(agentId: string, commandId: string, reason: string) {
    const layer = this.world.trust.agent(agentId)?.layer ?? 0;
    const body: StepReported = {
      commandId,
      sagaId: 'plan-1',
      sagaIndex: 0,
      planDigest: '0'.repeat(64),
      operation: 'prepare',
      status: 'failed',
      code: 'ORCH-8005',
      reason,
      slots: [],
      durationMs: 1,
    };
    return this.member(agentId).exchange.publish({
      type: 'step-reported',
      subject: this.subjects.report(layer, agentId),
      channel: `layer-${layer}`,
      body,
    });
  }

  async stopAgents(): Promise<void> {
    for (const { stop } of this.members.values()) await stop();
    this.members.clear();
  }

  async end(): Promise<void> {
    await this.stopAgents();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #channelsOf(agentId: string): readonly string[] {
    const agent = this.world.trust.agent(agentId);
    return agent === undefined ? [] : channelsOf(agent);
  }

  #draw(count: number): Uint8Array {
    const bytes = crypto.randomBytes(count);
    // A copy: what was drawn is overwritten by whoever drew it.
    this.drawn.push(new Uint8Array(bytes));
    return bytes;
  }

  /** Somebody listens on the bus from the beginning. */
  async #record(): Promise<void> {
    const bus = this.world.bus('auditor');
    for (const stream of ['GYRE_CONTROL', 'GYRE_AUDIT'] as const) {
      const subjects = streamSubjects(this.subjects)[stream];
      await bus.follow({ stream, subjects, fromSequence: 1 }, ({ data }) => {
        this.traffic.push(new Uint8Array(data));
      });
    }
  }

  /** A bus whose questions and answers are overheard. */
  #overheard(bus: Bus): Bus {
    const hear = (frame: Uint8Array) => this.traffic.push(new Uint8Array(frame));
    return {
      ...forwardingTo(bus),
      request: async (subject, data, timeoutMs) => {
        hear(data);
        const answer = await bus.request(subject, data, timeoutMs);
        hear(answer);
        return answer;
      },
    };
  }

  async #begin(agentId: string): Promise<void> {
    const { world, subjects } = this;
    const self = world.trust.agent(agentId);
    if (self === undefined) throw new Error(`${agentId} is not enrolled`);
    const bus = this.#overheard(world.bus(agentId));
    const keyring = new EpochKeyring(crypto, world.mesh);
    const observesAll = self.kind === 'auditor';
    const exchange = world.principal(agentId, { bus, keyring: keyring as never, observesAll });
    const { trust, clock } = world;
    const shared = { agentId, bus, exchange, keyring, trust, clock, subjects, log: quiet };
    const ports = { ...shared, crypto: this.#provider };
    const mine = channelsOf(self);
    const needed = self.kind === 'auditor' ? [...mine, archiveChannel] : mine;
    const epochs = new EpochMember({ ...ports, channels: mine, needed, hasPrekeys: true });
    const stops: (() => Promise<void>)[] = [];
    const running = { ...ports, epochs };
    if (self.kind === 'orchestrator') stops.push(await this.#orchestrate(running));
    else {
      const catchUp = (): Promise<void> => Promise.resolve();
      const { kind } = self;
      const notices = new Notices({ ...ports, kind, catchUp, admits: () => true });
      notices.on('epoch-entry', (event) => epochs.onEntry(event));
      await notices.start();
      stops.push(() => notices.stop());
    }
    if (self.kind === 'signer') stops.push(await this.#sign(running));
    else await epochs.start();
    if (self.kind === 'auditor') stops.push(await this.#audit(running));
    const stop = async (): Promise<void> => {
      for (const each of stops) await each();
      await epochs.stop();
      await bus.close();
    };
    this.members.set(agentId, { agentId, exchange, keyring, stop });
  }

  async #orchestrate(ports: Running): Promise<() => Promise<void>> {
    const driver = new EpochDriver({ ...ports, takeoverMs: 300 });
    const desk = new EpochDesk({ ...ports, takeoverMs: 300 }, driver);
    const refused = { ok: false, code: 'ORCH-8012', reason: 'not of epochs' } as const;
    await ports.exchange.answer((query, asker) =>
      Promise.resolve(desk.answer(query, asker) ?? refused),
    );
    await driver.start();
    this.#drivers.push(driver);
    driver.sagasAreRead(() => []);
    return () => driver.stop();
  }

  async #sign(ports: Running): Promise<() => Promise<void>> {
    const token = new RolesOfWorld(this.world, await this.#openToken(), this.#slowMs);
    const disk = new SystemDisk(this.stateOf(ports.agentId));
    const database = disk.database('signer.db');
    const onConflict = (): void => undefined;
    const outbox = new Outbox({ ...ports, database, onConflict, onTrouble: onConflict });
    const record = new EpochRecord(database);
    const { mesh } = this.world;
    const vault = await EpochVault.open({ disk, mesh, token, record, log: quiet });
    (await vault.archiveKey(() => ports.crypto.randomBytes(32))).fill(0);
    const signer = new Signer({
      ...ports,
      outbox,
      token,
      checkpoints: new CheckpointMemory(database, crypto),
      epochRecord: record,
      secrets: { keyring: ports.keyring, known: ports.epochs.announcements },
      isLockedOut: () => false,
      childRestarts: () => 0,
    });
    await signer.start();
    await ports.epochs.start(vault);
    return async () => {
      await signer.stop();
      database.close();
    };
  }

  async #audit(ports: Running): Promise<() => Promise<void>> {
    await ports.epochs.ready();
    const auditor = await Auditor.open({
      ...ports,
      disk: new SystemDisk(this.stateOf(ports.agentId)),
      checkpointMs: 500,
      whenReadable: (name, sender) => ports.epochs.whenReadable(name, sender),
    });
    await auditor.start();
    return () => auditor.stop();
  }
}

/** The token wraps; the roles' keys are those that the world's root names. */
class RolesOfWorld implements Token {
  readonly #world: World;
  readonly #token: Token;
  readonly #slowMs: number;
  #archiveIsKept = false;
  #readyAtMs: number | undefined;

  constructor(world: World, token: Token, slowMs: number) {
    this.#world = world;
    this.#token = token;
    this.#slowMs = slowMs;
  }

  describe() {
    return this.#token.describe();
  }

  generateKey(keyName: string): Promise<{ publicKey: Uint8Array }> {
    return this.#token.generateKey(keyName);
  }

  publicKey(keyName: string): Promise<Uint8Array> {
    return Promise.resolve(this.#key(keyName).publicKey.raw);
  }

  sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array> {
    return crypto.signAsync(this.#key(keyName), { message, context });
  }

  /** The archive key comes first, before the signer answers anyone. */
  async wrap(bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    if (this.#archiveIsKept) {
      this.#readyAtMs ??= performance.now() + this.#slowMs;
      const delayMs = this.#readyAtMs - performance.now();
      if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
    this.#archiveIsKept = true;
    return await this.#token.wrap(bytes, purpose);
  }

  unwrap(wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    return this.#token.unwrap(wrapped, purpose);
  }

  canary() {
    return this.#token.canary();
  }

  close(): Promise<void> {
    return this.#token.close();
  }

  #key(keyName: string) {
    const key = this.#world.keys.get(keyName);
    if (key === undefined) throw new Error(`the world has no key ${keyName}`);
    return key;
  }
}

interface Running {
  readonly agentId: string;
  readonly bus: Bus;
  readonly exchange: Principal;
  readonly keyring: EpochKeyring;
  readonly trust: World['trust'];
  readonly clock: World['clock'];
  readonly subjects: Subjects;
  readonly log: typeof quiet;
  readonly crypto: typeof crypto;
  readonly epochs: EpochMember;
}

function isEpochEntry(bytes: Uint8Array): boolean {
  const parsed = parseFrame(bytes);
  return parsed.ok && parsed.frame.header.type === 'epoch-entry';
}

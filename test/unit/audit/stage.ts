/**
 * A mesh in memory with a real auditor over a real folder: principals that publish, the receipts
 * that come back, a signer that signs checkpoints. `story.ts` plays rotations on it.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { EventBody, EventTypeName, ReceiptEntry } from '#schemas/events.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { AuditCheckpoint } from '#schemas/plan.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import type { SagaEntry } from '#schemas/saga.ts';
import { Auditor, type AuditorPorts } from '#agents/auditor/auditor.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { noticesSecret, StaticKeyring } from '#shared/crypto/keyring.ts';
import { localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import type { Member } from '#cli/mesh/members.ts';
import { archiveChannel, archiveEpoch, channels, channelsOf } from '#shared/core/channels.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { crypto, makeWorld, quiet, type World } from '../../support/world.ts';

export interface StageOptions {
  readonly members?: readonly Member[];
  readonly auditor?: Partial<AuditorPorts>;
  /** Another name is another root. */
  readonly ceremony?: string;
}

/** One mesh with an auditor. */
export class Stage {
  readonly world: World;
  readonly directory: string;
  readonly subjects: ReturnType<typeof subjectsOf>;
  readonly receipts = new Map<string, { entry: ReceiptEntry; disclosure: Disclosure }>();
  readonly lastSequences = new Map<string, number>();
  auditor: Auditor;
  readonly #principals = new Map<string, Principal>();
  readonly archiveKey = crypto.randomBytes(32);
  readonly #secrets: ReadonlyMap<string, Uint8Array>;
  #ledgerEntries: string[] = [];
  #waiters: (() => void)[] = [];
  #bus: Bus | undefined;

  static async open(options: StageOptions = {}): Promise<Stage> {
    const { members, ceremony } = options;
    const world = await makeWorld({
      ...(members === undefined ? {} : { members }),
      ...(ceremony === undefined ? {} : { ceremony }),
    });
    const stage = new Stage(world);
    await stage.startAuditor(options.auditor ?? {});
    await stage.#listen();
    await stage.#answerAsSigner();
    return stage;
  }

  private constructor(world: World) {
    this.world = world;
    this.subjects = subjectsOf(world.mesh);
    this.directory = mkdtempSync(path.join(tmpdir(), 'gyre-audit-'));
    this.#secrets = new Map(channels.map((channel) => [channel, crypto.randomBytes(32)]));
    this.auditor = undefined as never;
  }

  async startAuditor(options: Partial<AuditorPorts> = {}): Promise<Auditor> {
    const { world, subjects } = this;
    const keyring = this.keyringOf('auditor');
    const bus = world.bus('auditor');
    this.auditor = await Auditor.open({
      exchange: world.principal('auditor', { bus, keyring, observesAll: true }),
      bus,
      keyring,
      trust: world.trust,
      crypto,
      clock: world.clock,
      log: quiet,
      subjects,
      disk: new SystemDisk(this.directory),
      lookMs: 50,
      checkpointMs: 3_600_000,
      ...options,
    });
    await this.auditor.start();
    return this.auditor;
  }

  async close(): Promise<void> {
    await this.auditor.stop();
    await this.#bus?.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  keyringOf(agentId: string): StaticKeyring {
    const member = this.world.trust.agent(agentId);
    if (member === undefined) throw new Error(`${agentId} is not a member`);
    const archive = { channel: archiveChannel, epoch: archiveEpoch, secret: this.archiveKey };
    return new StaticKeyring([
      noticesSecret(crypto, this.world.mesh),
      ...channelsOf(member).map((channel) => ({
        channel,
        epoch: 1,
        secret: this.#secrets.get(channel) ?? new Uint8Array(32),
      })),
      ...(member.kind === 'auditor' ? [archive] : []),
    ]);
  }

  principal(agentId: string): Principal {
    const known = this.#principals.get(agentId);
    if (known !== undefined) return known;
    const principal = this.world.principal(agentId, { keyring: this.keyringOf(agentId) });
    this.#principals.set(agentId, principal);
    return principal;
  }

  /** Publishes as an agent. */
  async say<Name extends EventTypeName>(
    agentId: string,
    event: {
      type: Name;
      subject: string;
      channel: string;
      body: EventBody<Name>;
      audience?: string;
    },
  ): Promise<string> {
    return (await this.principal(agentId).publish(event)).hash;
  }

  async receiptOf(hash: string): Promise<{ entry: ReceiptEntry; disclosure: Disclosure }> {
    for (let tries = 0; tries < 400; tries += 1) {
      const found = this.receipts.get(hash);
      if (found !== undefined) return found;
      await Promise.race([
        new Promise<void>((resolve) => this.#waiters.push(resolve)),
        new Promise((resolve) => setTimeout(resolve, 25)),
      ]);
    }
    throw new Error(`no receipt for ${hash}`);
  }

  /** Appends one entry as orchestrator-a; throws where the auditor refuses it. */
  async append(entry: SagaEntry): Promise<string> {
    const { hash, receipt } = await this.offer(entry);
    if (receipt.verdict === 'refused') throw new Error(`${entry.event.type} was refused`);
    if (entry.saga === 'slots') this.#ledgerEntries.push(hash);
    return hash;
  }

  async offer(entry: SagaEntry): Promise<{ hash: string; receipt: ReceiptEntry }> {
    const subject =
      entry.saga === 'slots' ? this.subjects.sagaSlots() : this.subjects.sagaRotation(entry.sagaId);
    const event = { type: 'saga-entry' as const, subject, channel: 'saga', body: entry };
    const hash = await this.say('orchestrator-a', event);
    return { hash, receipt: (await this.receiptOf(hash)).entry };
  }

  async request<Name extends EventTypeName>(
    operatorId: string,
    type: Name,
    body: EventBody<Name>,
  ): Promise<string> {
    const subject = this.subjects.request(operatorId);
    return this.say(operatorId, { type, subject, channel: 'operators', body });
  }

  /** Everything that the auditor shows of its records, with their content. */
  async records(from = 0): Promise<AuditRecord[]> {
    const records: AuditRecord[] = [];
    for (;;) {
      const answer = await this.principal('op-1').ask(
        { agentId: 'auditor', channel: 'operators' },
        { ask: 'audit-records', from: from + records.length, recordsMax: 64 },
        5_000,
      );
      if (!answer.ok) throw new Error(answer.reason);
      const page = answer.result as { records: AuditRecord[]; treeSize: number };
      records.push(...page.records);
      if (page.records.length === 0 || from + records.length >= page.treeSize) return records;
    }
  }

  /** A checkpoint over everything that the auditor has now. */
  async checkpoint(): Promise<AuditCheckpoint> {
    const answer = await this.principal('op-1').ask(
      { agentId: 'auditor', channel: 'operators' },
      { ask: 'audit-checkpoint' },
      5_000,
    );
    if (!answer.ok) throw new Error(answer.reason);
    return (answer.result as { checkpoint: AuditCheckpoint }).checkpoint;
  }

  get ledgerEntries(): readonly string[] {
    return this.#ledgerEntries;
  }

  async #listen(): Promise<void> {
    const principal = this.principal('orchestrator-b');
    this.#bus = this.world.bus('orchestrator-b');
    await this.#bus.follow(
      { stream: 'GYRE_AUDIT', subjects: [this.subjects.patterns.audit], fromSequence: 1 },
      (message) => {
        const opening = principal.open(message);
        if (opening.status === 'refused' || opening.event.type !== 'receipts-issued') return;
        const { body, disclosure } = opening.event;
        for (const entry of body.entries) {
          this.receipts.set(entry.statementHash, { entry, disclosure });
        }
        for (const resolve of this.#waiters.splice(0)) resolve();
      },
    );
  }

  async #answerAsSigner(): Promise<void> {
    await this.principal('signer').answer(async (query) => {
      if (query.ask !== 'sign-statement' || query.statement.kind !== 'audit_checkpoint') {
        return { ok: false, code: 'ORCH-8015', reason: 'not asked in these stories' };
      }
      const key = this.world.keys.get('audit');
      if (key === undefined) throw new Error('no audit key');
      const document = await signDocument(query.statement, [localSigner(crypto, key)]);
      return { ok: true, result: document };
    });
  }
}

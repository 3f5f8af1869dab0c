/**
 * Rotations played over the in-memory bus with real keys and a real auditor: a small orchestrator
 * that carries out what `stepRotation` asks for, agents that report what they are told to, a signer
 * that signs. So an audit log comes to be as in a mesh, without processes.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { EventBody, EventTypeName, ReceiptEntry } from '#schemas/events.ts';
import type { Disclosure } from '#schemas/frame.ts';
import { slotDefinitions, type LayerNumber } from '#schemas/layers.ts';
import type { AuditCheckpoint, RotationPlan } from '#schemas/plan.ts';
import type { AuditRecord, LayerInspection } from '#schemas/queries.ts';
import type { RotationEvent, SagaEntry, SlotsEvent, StepReport } from '#schemas/saga.ts';
import { Auditor, type AuditorPorts } from '#agents/auditor/auditor.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { planRotation } from '#shared/core/planner.ts';
import { reportFacts } from '#shared/core/audit-evidence.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import type { RotationCommand, SendStep } from '#shared/core/rotation/commands.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { stepRotation } from '#shared/core/rotation/step.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { StaticKeyring } from '#shared/crypto/keyring.ts';
import { documentDigest, localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { channels, channelsOf, members, type Member } from '#cli/mesh/members.ts';
import { crypto, makeWorld, quiet, type World } from '../../support/world.ts';

export { crypto };

const zeroHash = '0'.repeat(64);

export interface Told {
  readonly state: RotationState;
  /** Hash of every accepted entry, in order. */
  readonly entries: readonly string[];
}

export interface TellOptions {
  readonly planId: string;
  readonly layers: readonly LayerNumber[];
  /** The step that an agent reports as failed, again and again. */
  readonly fails?: SendStep['operation'];
  /** Stops before the entry of this type would be appended. */
  readonly until?: RotationEvent['type'];
}

export interface StageOptions {
  readonly members?: readonly Member[];
  readonly auditor?: Partial<AuditorPorts>;
}

/** One mesh with an auditor; tells rotations. */
export class Stage {
  readonly world: World;
  readonly directory: string;
  readonly subjects: ReturnType<typeof subjectsOf>;
  readonly receipts = new Map<string, { entry: ReceiptEntry; disclosure: Disclosure }>();
  readonly lastSequences = new Map<string, number>();
  auditor: Auditor;
  readonly #principals = new Map<string, Principal>();
  readonly #secrets: ReadonlyMap<string, Uint8Array>;
  #ledgerEntries: string[] = [];
  #waiters: (() => void)[] = [];
  #bus: Bus | undefined;

  static async open(options: StageOptions = {}): Promise<Stage> {
    const world = await makeWorld(
      options.members === undefined ? {} : { members: options.members },
    );
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
      stateDirectory: this.directory,
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
    const member = members.find(({ id }) => id === agentId);
    if (member === undefined) throw new Error(`${agentId} is not a member`);
    return new StaticKeyring(
      channelsOf(member).map((channel) => ({
        channel,
        epoch: 1,
        secret: this.#secrets.get(channel) ?? new Uint8Array(32),
      })),
    );
  }

  principal(agentId: string): Principal {
    const known = this.#principals.get(agentId);
    if (known !== undefined) return known;
    const principal = this.world.principal(agentId, { keyring: this.keyringOf(agentId) });
    this.#principals.set(agentId, principal);
    return principal;
  }

  /** Publishes as an agent and waits for the receipt. */
  async say<Name extends EventTypeName>(
    agentId: string,
    event: {
      type: Name;
      subject: string;
      channel: string;
      body: EventBody<Name>;
      audience?: string;
    },
  ): Promise<{ hash: string; receipt: ReceiptEntry }> {
    const { hash } = await this.principal(agentId).publish(event);
    return { hash, receipt: (await this.receiptOf(hash)).entry };
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
    return this.say('orchestrator-a', {
      type: 'saga-entry',
      subject,
      channel: 'saga',
      body: entry,
    });
  }

  async request<Name extends EventTypeName>(
    operatorId: string,
    type: Name,
    body: EventBody<Name>,
  ): Promise<string> {
    const subject = this.subjects.request(operatorId);
    return (await this.say(operatorId, { type, subject, channel: 'operators', body })).hash;
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

  /** Tells one rotation, to its end unless told otherwise. */
  async tell(options: TellOptions): Promise<Told> {
    return new Telling(this, options).run();
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
    const key = this.world.keys.get('audit');
    if (key === undefined) throw new Error('no audit key');
    await this.principal('signer').answer(async (query) => {
      if (query.ask !== 'sign-statement' || query.statement.kind !== 'audit_checkpoint') {
        return { ok: false, code: 'ORCH-8015', reason: 'not asked in these stories' };
      }
      const document = await signDocument(query.statement, [localSigner(crypto, key)]);
      return { ok: true, result: document };
    });
  }
}

/** Carries out one rotation. */
class Telling {
  readonly #stage: Stage;
  readonly #options: TellOptions;
  readonly #entries: string[] = [];
  #state: RotationState | undefined;

  constructor(stage: Stage, options: TellOptions) {
    this.#stage = stage;
    this.#options = options;
  }

  async run(): Promise<Told> {
    const { planId } = this.#options;
    const { plan, request } = await this.#plan();
    const ended = async (): Promise<Told> => ({ state: this.#now(), entries: this.#entries });
    await this.#enter({ type: 'plan-drafted', plan }, [request]);
    const bound = { planId, planDigest: this.#now().planDigest };
    const readiness = this.#now().slots.map(({ owner: agentId }) => ({ agentId, ready: true }));
    await this.#enter({ type: 'plan-validated', readiness }, []);
    const approval = await this.#stage.request('op-2', 'plan-approved', bound);
    await this.#enter({ type: 'approval-recorded', operatorId: 'op-2' }, [approval]);
    if (this.#options.until === 'execution-requested') return ended();
    const body = { ...bound, dryRun: false };
    const execution = await this.#stage.request('op-1', 'execution-requested', body);
    await this.#enter({ type: 'execution-requested', operatorId: 'op-1' }, [execution]);
    for (let round = 0; round < 200; round += 1) {
      const commands = this.#now().outstanding.filter(({ type }) => type !== 'start-timer');
      const [command] = commands.length > 0 ? commands : this.#now().outstanding;
      if (command === undefined) return ended();
      if (!(await this.#carryOut(command))) return ended();
    }
    throw new Error('the rotation does not end');
  }

  #now(): RotationState {
    if (this.#state === undefined) throw new Error('the rotation has not begun');
    return this.#state;
  }

  async #plan(): Promise<{ plan: RotationPlan; request: string }> {
    const { planId, layers } = this.#options;
    const { world } = this.#stage;
    const { trust } = world;
    const asked = {
      requestId: `${planId}-request`,
      rotationType: 'scheduled' as const,
      layers: [...layers],
      reason: 'a story',
    };
    const request = await this.#stage.request('op-1', 'rotation-requested', asked);
    const agents = trust
      .agents()
      .flatMap(({ agentId, layer }) => (layer === undefined ? [] : [{ agentId, layer }]));
    const planned = planRotation({
      request: asked,
      requestHash: request,
      requestedBy: 'op-1',
      planId,
      mesh: world.mesh,
      nowMs: world.clock.nowMs(),
      inspections: agents.map(inspection),
      agents,
      policy: trust.policy,
      registry: trust.registry,
      digests: {
        registry: trust.registryDigest,
        policy: trust.policyDigest,
        enrolments: trust.enrolmentsDigest,
      },
    });
    if ('refused' in planned) throw new Error(planned.reason);
    return { plan: await this.#sign(planned.plan), request };
  }

  async #sign<Body extends { kind: string }>(body: Body) {
    const key = this.#stage.world.keys.get('orchestration');
    if (key === undefined) throw new Error('no orchestration key');
    return signDocument(body, [localSigner(crypto, key)]);
  }

  /** False where the story ends before this. */
  async #carryOut(command: RotationCommand): Promise<boolean> {
    switch (command.type) {
      case 'validate-plan':
        throw new Error('validated already');
      case 'reserve-slots':
        await this.#reserve({
          type: 'slots-reserved',
          slots: command.slots,
          ...this.#held(command),
        });
        return this.#enter({ type: 'slots-reserved' }, []);
      case 'release-slots':
        await this.#reserve({ type: 'slots-released', ...this.#held(command) });
        return this.#enter({ type: 'slots-released' }, []);
      case 'start-timer':
        return this.#enter({ type: 'timer-fired', timer: command.timer }, []);
      case 'sign-statement':
        return this.#authorize(command);
      case 'send-step':
        return this.#stepAll();
    }
  }

  #held({ sagaIndex }: RotationCommand) {
    const { sagaId } = this.#now();
    return { sagaId, sagaIndex, atMs: this.#stage.world.clock.nowMs() };
  }

  async #authorize({ body, evidence }: Extract<RotationCommand, { type: 'sign-statement' }>) {
    switch (body.kind) {
      case 'rotation_authorization': {
        const authorization = await this.#sign(body);
        return this.#enter({ type: 'execution-authorized', authorization }, evidence);
      }
      case 'rotation_commit': {
        const consumed = evidence.slice(0, 64);
        return this.#enter({ type: 'commit-decided', commit: await this.#sign(body) }, consumed);
      }
      case 'recovery_authorization':
        throw new Error('no story is locked out');
    }
  }

  async #reserve(event: SlotsEvent): Promise<void> {
    const { ledgerEntries } = this.#stage;
    await this.#stage.append({
      saga: 'slots',
      sagaId: 'slots',
      index: ledgerEntries.length,
      previous: ledgerEntries.at(-1) ?? zeroHash,
      consumed: [],
      event,
    });
  }

  async #stepAll(): Promise<boolean> {
    const steps = this.#now().outstanding.filter((command) => command.type === 'send-step');
    const reports: StepReport[] = [];
    for (const step of steps) reports.push(await this.#step(step));
    return this.#enter(
      { type: 'reports-received', reports },
      reports.map(({ report }) => report),
    );
  }

  async #step(step: SendStep): Promise<StepReport> {
    const stage = this.#stage;
    const { agentId, layer, operation } = step;
    const { sagaId, planDigest } = this.#now();
    const { disclosure } = await stage.receiptOf(this.#entries[step.sagaIndex] ?? '');
    const named = { commandId: step.id, sagaId, sagaIndex: step.sagaIndex, planDigest, operation };
    await stage.say('orchestrator-a', {
      type: 'step-commanded',
      subject: stage.subjects.step(layer, agentId),
      channel: `layer-${layer}`,
      audience: agentId,
      body: { ...named, slots: step.slots, receipt: disclosure, evidence: [] },
    });
    const fails = this.#options.fails === operation;
    const body = {
      ...named,
      status: fails ? ('failed' as const) : ('done' as const),
      ...(fails ? { code: 'ORCH-8005' as const, reason: 'told to fail' } : {}),
      slots: fails ? [] : step.slots.map((slot) => this.#outcome(slot, step)),
      durationMs: 1,
    };
    const { hash: report } = await stage.say(agentId, {
      type: 'step-reported',
      subject: stage.subjects.report(layer, agentId),
      channel: `layer-${layer}`,
      body,
    });
    const { sagaId: _saga, planDigest: _digest, ...facts } = reportFacts(body);
    return { report, agentId, ...facts };
  }

  #outcome(slot: string, { operation }: SendStep) {
    const progress = this.#now().slots.find((one) => one.slot === slot);
    if (progress === undefined) throw new Error(`no slot ${slot}`);
    const { checkpoint } = progress;
    const isOld = ['release', 'retire', 'rollback', 'discard', 'freeze'].includes(operation);
    const version = isOld ? checkpoint.version : checkpoint.version + 1;
    const keyId = isOld ? checkpoint.keyId : digestOf(`${slot} ${version}`);
    return {
      slot,
      version,
      keyId,
      publicDigest: keyId,
      ...(operation === 'release' ? { inUse: 0 } : {}),
      ...(operation === 'measure'
        ? { samples: { operations: 10, failures: 0, latencyPercent: 100 } }
        : {}),
    };
  }

  /** Appends the event, and folds it like everybody else. */
  async #enter(event: Untimed<RotationEvent>, consumed: readonly string[]): Promise<boolean> {
    if (this.#options.until === event.type) return false;
    const { planId } = this.#options;
    const { world } = this.#stage;
    const timed = { ...event, atMs: world.clock.nowMs() } as RotationEvent;
    const index = this.#entries.length;
    const previous = this.#entries.at(-1) ?? zeroHash;
    const entry = { index, previous, consumed: [...consumed], event: timed };
    const hash = await this.#stage.append({ saga: 'rotation', sagaId: planId, ...entry });
    this.#entries.push(hash);
    this.#fold(hash, timed, { index, consumed: [...consumed] });
    return true;
  }

  #fold(
    hash: string,
    event: RotationEvent,
    { index, consumed }: { index: number; consumed: string[] },
  ) {
    if (event.type === 'plan-drafted') {
      const planDigest = documentDigest(crypto, event.plan.body);
      const opening = { sagaId: this.#options.planId, planDigest, entryHash: hash };
      this.#state = beginRotation(opening, { index: 0, consumed, event });
      return;
    }
    const step = stepRotation(
      this.#now(),
      { index, consumed, event },
      this.#stage.world.trust.policy,
    );
    if ('rejected' in step) throw new Error(`${event.type}: ${step.rejected} ${step.reason}`);
    this.#state = step.state;
  }
}

type Untimed<Event> = Event extends { atMs: number } ? Omit<Event, 'atMs'> : never;

function inspection({ agentId, layer }: { agentId: string; layer: number }): LayerInspection {
  return {
    agentId,
    adapter: 'story',
    fingerprint: digestOf(agentId),
    ready: true,
    slots: slotDefinitions
      .filter((definition) => definition.layer === layer)
      .map(({ slot, keyKind, algorithm }) => ({
        slot,
        keyKind,
        algorithm,
        version: 1,
        keyId: digestOf(`${slot} 1`),
        publicDigest: digestOf(`${slot} 1`),
        activatedAtMs: 0,
        frozen: false,
        accepted: [],
      })),
  };
}

export function digestOf(text: string): string {
  return toHex(crypto.sha3_256(new TextEncoder().encode(text)));
}

/**
 * The signer: states what the roles' keys vouch for. It signs only the typed statements of
 * `schemas/plan.ts`, checks the events that entitle to each one by itself, and refuses what the asker
 * was not entitled to; a stolen orchestrator gets nothing from it that policy and approvers did not
 * allow (invariant 10). Everything that it signs or refuses is an event.
 */

import type { Disclosure } from '#schemas/frame.ts';
import type { OrchCode } from '#schemas/errors.ts';
import type { IssueCertificate, Query, SignStatement } from '#schemas/queries.ts';
import type { RoleName } from '#schemas/trust.ts';
import type { Bus, BusMessage, Subscription } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { prekeyUnusable } from '#shared/core/epoch-evidence.ts';
import { lockoutsShown } from '#shared/core/lockout.ts';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { documentDigest, signDocument } from '#shared/crypto/signed-document.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import type { VerifiedEvent } from '#shared/core/step-evidence.ts';
import { servingAgents } from '#shared/core/plan-members.ts';
import { checkStatement } from '#shared/core/statement-evidence.ts';
import { giveEpochSecrets, type GivingPorts } from '#shared/runtime/epoch-questions.ts';
import type { Answer, Exchange } from '#shared/runtime/exchange.ts';
import type { Outbox, OutboxDrain } from '#shared/runtime/outbox.ts';
import { OutboxError } from '#shared/runtime/outbox-store.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { TokenError, type KeyRole, type Token } from '#shared/runtime/token/token.ts';
import type { CertificateNote, CertificateOffice } from './certificate-office.ts';
import type { CheckpointMemory } from './checkpoint-memory.ts';
import { EpochOffice } from './epoch-office.ts';
import type { EpochRecord } from './epoch-record.ts';

export interface SignerPorts {
  readonly agentId: string;
  readonly exchange: Exchange;
  readonly bus: Bus;
  readonly outbox: Outbox;
  readonly trust: TrustView;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  readonly subjects: Subjects;
  readonly token: Token;
  readonly checkpoints: CheckpointMemory;
  readonly epochRecord: EpochRecord;
  /** Absent where the signer is no certificate authority. */
  readonly certificates?: CertificateOffice;
  /** The secrets that it gives to those who ask, by its vault. */
  readonly secrets?: Pick<GivingPorts, 'keyring' | 'known'> & {
    /** An orchestrator begins, or shows old prekeys: it may not find this agent's on the bus any more. */
    readonly onOrchestrator?: () => void;
  };
  /** Whether the agent offered a bad document and may ask for nothing new for a while. */
  readonly isLockedOut: (agentId: string) => boolean;
  /** Absent where nobody offers documents. */
  readonly trustDesk?: Pick<TrustDesk, 'lockouts'>;
  /** How often the token's process was started again. */
  readonly childRestarts: () => number;
}

/** Receipts read again at a start, for what was published before it. */
const receiptsReread = 4096;

type Statement = SignStatement['statement'];
/** What stands in the signer's record. */
type Recorded = Statement['kind'] | 'certificate' | 'certificate-authority';
type Refusal = { readonly code: OrchCode; readonly reason: string };

/** What is said of a statement or certificate in the signer's record. */
interface Entry {
  readonly digest: string;
  readonly requester: string;
  readonly refusal?: Refusal;
  readonly certificate?: CertificateNote;
}

const roleOf: Readonly<Record<Statement['kind'], KeyRole & RoleName>> = {
  rotation_plan: 'orchestration',
  rotation_authorization: 'orchestration',
  rotation_commit: 'orchestration',
  recovery_authorization: 'orchestration',
  audit_checkpoint: 'audit',
  enrolment: 'enrolment',
  epoch_announcement: 'orchestration',
};

const noSecretYet: Answer = {
  ok: false,
  code: 'ORCH-8013',
  reason: 'the signer has no secret of its channel yet',
};
const noAuthority: Answer = {
  ok: false,
  code: 'ORCH-8012',
  reason: 'this signer is no certificate authority',
};

export class Signer {
  readonly #ports: SignerPorts;
  readonly #epochs: EpochOffice;
  #receipts: Subscription | undefined;
  #drain: OutboxDrain | undefined;
  #root: Promise<Uint8Array> | undefined;

  constructor(ports: SignerPorts) {
    this.#ports = ports;
    this.#epochs = new EpochOffice({ ...ports, record: ports.epochRecord });
  }

  async start(): Promise<void> {
    const { bus, outbox, subjects } = this.#ports;
    await this.#checkKeys();
    const { lastSequence } = await bus.streamState('GYRE_AUDIT');
    this.#receipts = await bus.follow(
      {
        stream: 'GYRE_AUDIT',
        subjects: [subjects.auditReceipt()],
        fromSequence: Math.max(1, lastSequence - receiptsReread),
      },
      (message) => this.#onReceipt(message),
    );
    this.#drain = outbox.drain(bus);
    await this.#epochs.start();
    await this.#ports.exchange.answer((query, asker) => this.#answer(query, asker));
    this.#ports.log.info({ notice: this.#ports.token.describe().notice }, 'signing');
  }

  async stop(): Promise<void> {
    await this.#receipts?.stop();
    await this.#epochs.stop();
    await this.#drain?.stop();
    await this.#ports.bus.close();
    await this.#ports.token.close();
  }

  /** What an auditor has, the outbox need not keep. */
  #onReceipt(message: BusMessage): void {
    const opening = this.#ports.exchange.open(message);
    if (opening.status === 'refused' || opening.event.type !== 'receipts-issued') return;
    this.#ports.outbox.settle(opening.event.body.entries.map((entry) => entry.statementHash));
  }

  async #answer(query: Query, asker: Enrolled): Promise<Answer> {
    if (query.ask === 'signer-describe') return { ok: true, result: await this.#describe() };
    if (query.ask === 'sign-statement') return this.#onRecord(() => this.#sign(query, asker));
    if (query.ask === 'issue-certificate') return this.#onRecord(() => this.#certify(query, asker));
    if (query.ask === 'certificate-roots') return this.#onRecord(() => this.#roots());
    if (query.ask === 'epoch-secrets') return this.#give(query, asker);
    return { ok: false, code: 'ORCH-8012', reason: 'not a question for a signer' };
  }

  /** The secrets of the asker's channels, and of nothing else; a few times in a while. */
  #give(query: Extract<Query, { ask: 'epoch-secrets' }>, asker: Enrolled): Answer {
    const { secrets, crypto, trust, log } = this.#ports;
    if (secrets === undefined) return { ok: false, code: 'ORCH-8013', reason: 'no secrets here' };
    const reason = this.#epochs.givingRefusal(asker);
    if (reason === undefined && asker.kind === 'orchestrator') secrets.onOrchestrator?.();
    if (reason === undefined) return giveEpochSecrets({ crypto, trust, ...secrets }, asker, query);
    log.warn({ asker: asker.agentId, code: 'ORCH-8015' }, reason);
    return { ok: false, code: 'ORCH-8015', reason };
  }

  /** No record, no answer: what cannot be written down is not given out. */
  async #onRecord(work: () => Promise<Answer>): Promise<Answer> {
    try {
      return await work();
    } catch (error) {
      const { log } = this.#ports;
      if (error instanceof TokenError) {
        log.error({ code: error.code }, error.message);
        return { ok: false, code: 'ORCH-8013', reason: `the token failed (${error.code})` };
      }
      if (!(error instanceof OutboxError)) throw error;
      log.error({ code: error.code }, error.message);
      return { ok: false, code: 'ORCH-8013', reason: `the signer cannot keep its record` };
    }
  }

  /** A server's certificate, judged by the office and recorded before it is given out. */
  async #certify(request: IssueCertificate, asker: Enrolled): Promise<Answer> {
    const { certificates, crypto } = this.#ports;
    if (certificates === undefined) return noAuthority;
    if (!this.#canRecord('certificate')) return noSecretYet;
    const { agentId: requester } = asker;
    const verdict = certificates.judge(request, asker);
    if (verdict.status === 'refused') {
      const { code, reason } = verdict;
      const digest = toHex(crypto.sha3_256(request.request));
      this.#record('certificate', { digest, requester, refusal: { code, reason } });
      return { ok: false, code, reason };
    }
    const root = await this.#authority(certificates);
    const { certificate, note } = await certificates.certify(verdict.opened, request.validMs);
    if (!this.#canRecord('certificate')) return noSecretYet;
    const digest = toHex(crypto.sha3_256(certificate));
    this.#record('certificate', { digest, requester, certificate: note });
    return { ok: true, result: { chain: [certificate], roots: [root] } };
  }

  async #roots(): Promise<Answer> {
    const { certificates } = this.#ports;
    if (certificates === undefined) return noAuthority;
    if (!this.#canRecord('certificate')) return noSecretYet;
    return { ok: true, result: { roots: [await this.#authority(certificates)] } };
  }

  /** The authority's own certificate, made and recorded when it is needed first. */
  async #authority(certificates: CertificateOffice): Promise<Uint8Array> {
    const known = certificates.root();
    if (known !== undefined) return known;
    this.#root ??= this.#makeAuthority(certificates).finally(() => {
      this.#root = undefined;
    });
    return this.#root;
  }

  async #makeAuthority(certificates: CertificateOffice): Promise<Uint8Array> {
    const { agentId: requester, crypto } = this.#ports;
    const { certificate, note } = await certificates.newRoot();
    const digest = toHex(crypto.sha3_256(certificate));
    this.#record('certificate-authority', { digest, requester, certificate: note });
    certificates.keepRoot(certificate);
    return certificate;
  }

  async #sign(request: SignStatement, asker: Enrolled): Promise<Answer> {
    const { crypto } = this.#ports;
    const { statement } = request;
    // What cannot be recorded is not signed: it comes and goes with the channel's secret.
    if (!this.#canRecord(statement.kind)) return noSecretYet;
    const digest = documentDigest(crypto, statement);
    const refusal = this.#refusalOf(request, asker);
    if (refusal !== undefined) {
      this.#record(statement.kind, { digest, requester: asker.agentId, refusal });
      return { ok: false, ...refusal };
    }
    const role = roleOf[statement.kind];
    // Before the signature exists, so that no second head is checked against an older one meanwhile.
    if (statement.kind === 'audit_checkpoint') this.#ports.checkpoints.remember(statement);
    const document = await signDocument(statement, [this.#roleSigner(role)]);
    if (!this.#canRecord(statement.kind)) {
      return { ok: false, code: 'ORCH-8013', reason: 'the signer ends' };
    }
    this.#record(statement.kind, { digest, requester: asker.agentId });
    return { ok: true, result: document };
  }

  /** Why the statement is not signed, or undefined. */
  #refusalOf(request: SignStatement, asker: Enrolled): Refusal | undefined {
    const { trust, clock, crypto, checkpoints } = this.#ports;
    const { statement, plan } = request;
    if (statement.kind === 'enrolment') {
      return { code: 'ORCH-8015', reason: 'enrolments are stated at provisioning only' };
    }
    const evidence = this.#verified(request.evidence);
    if (evidence === undefined) {
      return { code: 'ORCH-8015', reason: 'the evidence is not authentic' };
    }
    if (statement.kind === 'epoch_announcement') {
      const refusal = this.#epochs.refusalOf(statement, asker, evidence);
      if (refusal?.code === prekeyUnusable) this.#ports.secrets?.onOrchestrator?.();
      return refusal;
    }
    if (plan !== undefined && trust.verifyStatement(plan, 'orchestration') !== 'ok') {
      return { code: 'ORCH-8015', reason: 'the plan is not stated by the signer' };
    }
    // Plans and what begins a rotation rest on what is in force; what ends one, on what it began with.
    const isNew = plan === undefined || statement.kind === 'rotation_plan';
    const policy = isNew ? trust.policy : trust.policyFor(plan.body.basis.policy_digest);
    if (policy === undefined) {
      return { code: 'ORCH-8004', reason: 'the policy of the plan was never in force' };
    }
    const stale = trust.staleness(clock.nowMs());
    if (statement.kind === 'rotation_plan' && stale.length > 0) {
      const code = stale.includes('policy') ? 'ORCH-8011' : 'ORCH-8010';
      return { code, reason: `expired: ${stale.join(', ')}` };
    }
    const verdict = checkStatement({
      statement,
      asker: { agentId: asker.agentId, kind: asker.kind },
      mesh: trust.mesh,
      evidence,
      ...(plan === undefined
        ? {}
        : { plan: plan.body, planDigest: documentDigest(crypto, plan.body) }),
      policy,
      registry: trust.registry,
      digests: {
        registry: trust.registryDigest,
        policy: trust.policyDigest,
        enrolments: trust.enrolmentsDigest,
      },
      agents: servingAgents(trust.agents()),
      isRevoked: (agentId) => trust.isRevoked(agentId),
      nowMs: clock.nowMs(),
    });
    if (verdict !== 'ok') return verdict;
    if (statement.kind !== 'audit_checkpoint') return undefined;
    return checkpoints.refusalOf(statement, request.consistency ?? []);
  }

  #verified(disclosures: readonly Disclosure[]): VerifiedEvent[] | undefined {
    const events: VerifiedEvent[] = [];
    for (const disclosure of disclosures) {
      const opened = this.#ports.trust.verifyEvidence(disclosure);
      if (opened.status !== 'ok') return undefined;
      events.push(opened.event);
    }
    return events;
  }

  #roleSigner(role: KeyRole & RoleName) {
    const { trust, token, crypto } = this.#ports;
    const [key] = trust.roleKeys(role);
    if (key === undefined) throw new TokenError('KEY_UNKNOWN', `the root names no ${role} key`);
    const verifyKey = crypto.importVerifyKey(key.publicKey);
    const sign = async (bytes: Uint8Array, context: string): Promise<Uint8Array> => {
      const input = { message: bytes, context: utf8(context) };
      const signature = await token.sign(role, bytes, input.context);
      // A token that fails must not make the signer's word worthless: nothing leaves unverified.
      if (crypto.verify(verifyKey, { ...input, signature })) return signature;
      throw new TokenError('TOKEN_CANARY_FAILED', 'the token made a signature that does not hold');
    };
    return { keyId: key.keyId, sign };
  }

  /** The token's keys must be those that the root names: signing with others would be worthless. */
  async #checkKeys(): Promise<void> {
    const { trust, token, crypto } = this.#ports;
    for (const role of ['orchestration', 'audit', 'enrolment'] as const) {
      const keyId = toHex(crypto.sha3_256(await token.publicKey(role)));
      if (!trust.roleKeys(role).some((key) => key.keyId === keyId)) {
        throw new TokenError('KEY_UNKNOWN', `the token's ${role} key is not the one of the root`);
      }
    }
  }

  async #describe() {
    const { token, trust, childRestarts, trustDesk } = this.#ports;
    const { kind, label, mode, isHsm, notice } = token.describe();
    const keys = (['orchestration', 'audit', 'enrolment'] as const).flatMap((role) =>
      trust.roleKeys(role).map(({ keyId }) => ({ role, keyId })),
    );
    const canary = await token.canary().catch((error: unknown) => {
      if (error instanceof TokenError) return { ok: false };
      throw error;
    });
    const restarts = childRestarts();
    const said = { kind, label, mode, isHsm, notice, keys, canaryOk: canary.ok };
    return { ...said, childRestarts: restarts, ...lockoutsShown(trustDesk?.lockouts() ?? []) };
  }

  /** Whether the record of a statement can be sealed: not before a first epoch, nor at the very end. */
  #canRecord(kind: Recorded): boolean {
    const { secrets } = this.#ports;
    const isKnown = secrets?.keyring.currentEpoch('saga') !== undefined;
    return kind === 'epoch_announcement' || secrets === undefined || isKnown;
  }

  #record(kind: Recorded, entry: Entry): void {
    const { agentId, exchange, outbox, subjects, log } = this.#ports;
    const isOfEpochs = kind === 'epoch_announcement';
    const { digest, requester, refusal, certificate } = entry;
    const event = exchange.seal({
      type: 'statement-signed',
      subject: subjects.signerLog(),
      // What is said of epochs is public, and said before the first secret is there.
      channel: isOfEpochs ? noticesChannel : 'saga',
      // A chain of its own: what it publishes by itself among the notices may be undecided.
      ...(isOfEpochs ? { audience: agentId } : {}),
      body: {
        statement: kind.replaceAll('_', '-'),
        digest,
        requester,
        verdict: refusal === undefined ? 'signed' : 'refused',
        ...(certificate === undefined ? {} : { certificate }),
        ...(refusal === undefined ? {} : refusal),
      },
    });
    try {
      outbox.enqueue({ subject: event.subject, data: event.frame, messageId: event.hash });
    } catch (error) {
      exchange.renew();
      throw error;
    }
    if (refusal !== undefined) log.warn({ statement: kind, requester, ...refusal }, 'refused');
  }
}

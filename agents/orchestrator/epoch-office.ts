/**
 * Carries out one command for one channel: draws a secret and has its announcement stated, or appends that
 * an epoch is in use, over, or given up. A secret lives here only until its capsules are sealed.
 */

import type { OrchCode } from '#schemas/errors.ts';
import { EpochAnnouncement, type EpochCapsule, type EpochEntry } from '#schemas/epoch.ts';
import type { Disclosure } from '#schemas/frame.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError } from '#shared/bus/bus.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import type { EpochCommand } from '#shared/core/epoch-command.ts';
import { epochLeapMax, numberTaken, prekeyUnusable } from '#shared/core/epoch-evidence.ts';
import { capsuleDigest, sealCapsule, secretCommitment } from '#shared/crypto/epoch-capsule.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import type { EpochMember } from '#shared/runtime/epoch-member.ts';
import type { EpochLog } from './epoch-log.ts';
import { retryDelayMs, signTimeoutMs, type OrchestratorPorts } from './ports.ts';
import type { PrekeyShelf, ShownPrekey } from './prekey-shelf.ts';

/** Rekeying that an operator asked for, with the signed request. */
export interface EpochWish {
  readonly cause: 'operator' | 'suspicion';
  readonly atMs: number;
  /** Where the request stands in the stream. */
  readonly sequence: number;
  readonly evidence: Disclosure;
}

type Announce = Extract<EpochCommand, { type: 'announce' }>;

interface OfficePorts extends Pick<
  OrchestratorPorts,
  'exchange' | 'trust' | 'crypto' | 'clock' | 'log' | 'subjects'
> {
  readonly epochs: Pick<EpochMember, 'announcements'>;
}

/** Whether the log has it; what the signer refused is not to be tried again soon. */
export type EpochOutcome = 'done' | 'again' | 'refused';

interface Occasion {
  readonly wish: EpochWish | undefined;
  readonly entitledDigest: string;
}

const announcementCheck = compile(EpochAnnouncement);
const deliveryTimeoutMs = 2_000;

export class EpochOffice {
  readonly #ports: OfficePorts;
  readonly #shelf: PrekeyShelf;
  /** Numbers that the signer knows to be taken, and this orchestrator not: the bus lost entries. */
  readonly #passedOver = new Map<string, number>();

  constructor(ports: OfficePorts, shelf: PrekeyShelf) {
    this.#ports = ports;
    this.#shelf = shelf;
  }

  /**
   * The command follows from the log as it is at this call: what was appended since goes first, and
   * nothing is done. @throws BusError when the bus or the signer does not answer
   */
  async carryOut(
    log: EpochLog,
    command: Exclude<EpochCommand, { type: 'wait' }>,
    occasion: Occasion,
  ): Promise<EpochOutcome> {
    const { channel } = log;
    const { epoch } = command;
    if (command.type === 'announce') return this.#announce(log, command, occasion);
    const event = eventOf(command);
    if (command.type === 'close' && command.isUnaudited) {
      const fields = { channel, epoch, code: 'EPOCH_UNAUDITED' };
      this.#ports.log.warn(fields, 'closed before an auditor has read what was sealed under it');
    }
    return this.#append(log, { channel, epoch, event }, log.lastSequence);
  }

  async #announce(log: EpochLog, command: Announce, occasion: Occasion): Promise<EpochOutcome> {
    const { crypto, trust, clock, epochs } = this.#ports;
    const { channel, lastSequence } = log;
    const shown = command.members.flatMap((id) => this.#shelf.find(id, channel) ?? []);
    const passed = this.#passedOver.get(channel) ?? 0;
    // What the bus forgot is known from who gave the secrets: numbers go on above that.
    const epoch = Math.max(command.epoch, epochs.announcements.highest(channel) + 1) + passed;
    const name = { mesh: trust.mesh, channel, epoch };
    const secret = crypto.randomBytes(32);
    const capsules = shown.flatMap((prekey) => this.#capsule(name, prekey, secret) ?? []);
    const commitment = secretCommitment(crypto, name, secret);
    secret.fill(0);
    const body = {
      kind: 'epoch_announcement' as const,
      ...name,
      cause: command.cause === 'first' && epoch > 1 ? ('lost' as const) : command.cause,
      secret_commitment: commitment,
      members: capsules.map((capsule) => ({
        agent_id: capsule.agentId,
        capsule_digest: capsuleDigest(crypto, capsule),
      })),
      entitled_digest: occasion.entitledDigest,
      issued_at: new Date(clock.nowMs()).toISOString(),
    };
    const answer = await this.#stated(body, this.#evidence(shown, capsules, occasion.wish));
    // Another one was quicker: whether this is still to be said is for the log to say.
    if (log.lastSequence !== lastSequence) {
      this.#passedOver.delete(channel);
      return 'again';
    }
    if ('refused' in answer) {
      // The bus forgot what used a prekey, or what its owner published since. Whoever is not named
      // shows the others, and asks for the secret.
      if (answer.refused === prekeyUnusable) this.#shelf.forget(shown);
      if (answer.refused !== numberTaken) return 'refused';
      this.#passedOver.set(channel, passed >= epochLeapMax ? 0 : passed + 1);
      return 'again';
    }
    this.#passedOver.delete(channel);
    const event = { type: 'epoch-announced' as const, announcement: answer, capsules };
    return this.#append(log, { channel, epoch, event }, lastSequence);
  }

  /** Undefined for a prekey that is none: its owner asks for the secret like everyone who is absent. */
  #capsule(
    name: { mesh: string; channel: string; epoch: number },
    prekey: ShownPrekey,
    secret: Uint8Array,
  ): EpochCapsule | undefined {
    const { crypto, log } = this.#ports;
    const { agentId } = prekey;
    try {
      return sealCapsule(crypto, { ...name, agentId, prekey, secret });
    } catch (error) {
      if (!(error instanceof CryptoError)) throw error;
      log.warn({ agentId, channel: name.channel, code: error.code }, 'a prekey that is none');
      return undefined;
    }
  }

  /** One event may show the prekeys of several channels; what a wish rests on is shown too. */
  #evidence(
    shown: readonly ShownPrekey[],
    capsules: readonly EpochCapsule[],
    wish: EpochWish | undefined,
  ): Disclosure[] {
    const used = new Set(capsules.map(({ prekeyId }) => prekeyId));
    const prekeys = shown.filter(({ prekeyId }) => used.has(prekeyId));
    const wished = wish === undefined ? [] : [wish.evidence];
    return [...prekeys.map(({ evidence }) => evidence), ...wished];
  }

  async #stated(
    statement: EpochAnnouncement['body'],
    evidence: readonly Disclosure[],
  ): Promise<EpochAnnouncement | { readonly refused: OrchCode }> {
    const { exchange, trust, log } = this.#ports;
    const signer = trust.agents().find(({ kind }) => kind === 'signer');
    if (signer === undefined) throw new BusError('BUS_NO_RESPONDER', 'no signer is enrolled');
    const answer = await exchange.ask(
      { agentId: signer.agentId, channel: noticesChannel },
      { ask: 'sign-statement', statement, evidence: [...evidence] },
      signTimeoutMs,
    );
    if (!answer.ok) {
      const { code, reason } = answer;
      if (code === 'ORCH-8013') throw new BusError('BUS_REJECTED', reason);
      const { channel, epoch } = statement;
      log.warn({ channel, epoch, code }, `the epoch is not stated: ${reason}`);
      return { refused: code };
    }
    const document = answer.result;
    const holds =
      announcementCheck.check(document) &&
      document.body.secret_commitment === statement.secret_commitment &&
      trust.verifyStatement(document, 'orchestration') === 'ok';
    if (holds) return document;
    throw new BusError('BUS_REJECTED', 'the signer answered with no announcement');
  }

  /** On top of what it follows from (`expected`), or not at all. Waits until it came back. */
  async #append(log: EpochLog, body: EpochEntry, expected: number): Promise<EpochOutcome> {
    const { exchange, subjects, clock } = this.#ports;
    const subject = subjects.sagaEpoch(log.channel);
    const outcome = await exchange.append(
      { type: 'epoch-entry', subject, channel: noticesChannel, body },
      expected,
    );
    if (outcome.status === 'conflict') {
      // Fewer than there were: the bus lost entries; the numbers that this log knows stand.
      if (outcome.lastSequence < expected) log.lastSequence = outcome.lastSequence;
      else this.#passedOver.delete(log.channel);
      return 'again';
    }
    const deadlineMs = clock.monotonicMs() + deliveryTimeoutMs;
    while (log.lastSequence < outcome.sequence && clock.monotonicMs() < deadlineMs) {
      await new Promise<void>((resolve) => clock.after(retryDelayMs / 40, resolve));
    }
    return 'done';
  }
}

function eventOf(command: Exclude<EpochCommand, { type: 'wait' | 'announce' }>) {
  switch (command.type) {
    case 'activate': {
      const { accepted, absent } = command;
      return { type: 'epoch-activated' as const, accepted: [...accepted], absent: [...absent] };
    }
    case 'close':
      return { type: 'epoch-closed' as const };
    case 'abandon':
      return { type: 'epoch-abandoned' as const, reason: command.reason };
  }
}

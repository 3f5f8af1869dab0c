/**
 * Folds a history again: the audit's judge gives each leaf its verdict, the rotation's fold each entry
 * its commands. What differs from what was recorded is told, the first thing first.
 */

import { eventTypes, isEventType } from '#schemas/events.ts';
import type { SagaEntry } from '#schemas/saga.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { AuditJudge, type AuditEvent } from '#shared/core/audit-judge.ts';
import { AuditTree } from '#shared/core/audit-tree.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import type { RotationCommand } from '#shared/core/rotation/commands.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { stepRotation } from '#shared/core/rotation/step.ts';
import { decodeBody } from '#shared/crypto/audit-event.ts';
import { judgeOptions } from '#shared/crypto/audit-trust.ts';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import { parseHeader, statementOf } from '#shared/crypto/statement.ts';
import { openTrust, type TrustView } from '#shared/crypto/trust.ts';
import type { History, HistoryLeaf, Outcome, ShownLeaf } from './history.ts';

export interface Folding {
  readonly outcomes: readonly Outcome[];
  /** Where the fold of now disagrees with the log. */
  readonly complaints: readonly string[];
  readonly rootHash: string;
  readonly events: number;
}

type Log = Pick<History, 'bundle' | 'rootDigest' | 'leaves'>;

export function foldHistory(crypto: CryptoProvider, log: Log): Folding {
  const opening = openTrust(crypto, log);
  if (opening.status === 'refused') throw new Error(`${opening.code}: ${opening.reason}`);
  const folder = new Folder(crypto, opening.trust);
  for (const [leafIndex, leaf] of log.leaves.entries()) folder.add(leaf, leafIndex);
  return folder.end();
}

class Folder {
  readonly #crypto: CryptoProvider;
  readonly #trust: TrustView;
  readonly #judge: AuditJudge;
  readonly #tree: AuditTree;
  readonly #sagas = new Map<string, RotationState>();
  readonly #outcomes: Outcome[] = [];
  readonly #complaints: string[] = [];
  #events = 0;

  constructor(crypto: CryptoProvider, trust: TrustView) {
    this.#crypto = crypto;
    this.#trust = trust;
    const subjects = subjectsOf(trust.mesh);
    const addressOf = (subject: string) => subjects.parse(subject);
    this.#judge = new AuditJudge(judgeOptions(crypto, trust, addressOf));
    this.#tree = new AuditTree((bytes) => crypto.sha256(bytes));
  }

  add({ leafHash, verdict, shown }: HistoryLeaf, leafIndex: number): void {
    this.#tree.append(leafHash);
    if (shown === undefined) return;
    this.#events += 1;
    const event = this.#eventOf(shown, leafIndex);
    const judgement = this.#judge.judge(event);
    if (judgement.verdict !== verdict) {
      const why = judgement.verdict === 'refused' ? `: ${judgement.code}` : '';
      const now = `${judgement.verdict} now${why}`;
      this.#complaints.push(`leaf ${leafIndex} was ${verdict} and is ${now}`);
      return;
    }
    const { content, announced, hash } = event;
    if (verdict === 'refused' || announced.type !== 'saga-entry' || content.status !== 'read')
      return;
    this.#step(content.body as SagaEntry, hash);
  }

  end(): Folding {
    return {
      outcomes: this.#outcomes,
      complaints: this.#complaints,
      rootHash: toHex(this.#tree.root()),
      events: this.#events,
    };
  }

  #step(entry: SagaEntry, hash: string): void {
    if (entry.saga !== 'rotation') return;
    const { sagaId, index, consumed, event } = entry;
    const before = this.#sagas.get(sagaId);
    const step = before === undefined ? this.#begin(entry, hash) : this.#next(before, entry);
    if (step === undefined || 'rejected' in step) {
      const why = step === undefined ? 'it begins no saga' : step.rejected;
      this.#complaints.push(`entry ${index} of ${sagaId} (${event.type}) does not apply: ${why}`);
      return;
    }
    const { state, commands } = step;
    this.#sagas.set(sagaId, state);
    this.#outcomes.push({
      sagaId,
      index,
      event: consumed.length === 0 ? event.type : `${event.type} on ${consumed.length}`,
      phase: state.phase,
      decision: state.decision,
      commands: commands.map(commandText),
    });
  }

  #begin({ sagaId, consumed, event }: Extract<SagaEntry, { saga: 'rotation' }>, entryHash: string) {
    if (event.type !== 'plan-drafted') return undefined;
    const planDigest = documentDigest(this.#crypto, event.plan.body);
    const opening = { sagaId, planDigest, entryHash };
    const state = beginRotation(opening, { index: 0, consumed, event });
    return { state, commands: state.outstanding };
  }

  #next(state: RotationState, entry: Extract<SagaEntry, { saga: 'rotation' }>) {
    const { index, consumed, event } = entry;
    const policy = this.#trust.policyFor(state.plan.body.basis.policy_digest);
    return policy && stepRotation(state, { index, consumed, event }, policy);
  }

  /** As `auditEvent` makes it of a frame. */
  #eventOf(shown: ShownLeaf, leafIndex: number): AuditEvent {
    const crypto = this.#crypto;
    const parsed = parseHeader(shown.header);
    if (!parsed.ok) throw new Error(`leaf ${leafIndex} has no header: ${parsed.code}`);
    const { header } = parsed;
    const sender = this.#trust.agent(header.sender);
    if (sender === undefined) throw new Error(`leaf ${leafIndex} is by nobody`);
    const digest = crypto.blake3(concat(shown.salt, shown.body));
    const hash = toHex(crypto.blake3(statementOf(crypto, { ...shown, digest })));
    const { audience, lane, counter, type } = header;
    const body = decodeBody(shown.body);
    const isRead = isEventType(type) && eventTypes[type].body.check(body);
    return {
      hash,
      leafIndex,
      sender,
      link: {
        hash,
        sender: sender.agentId,
        incarnation: toHex(header.incarnation),
        audience,
        lane,
        counter,
        previous: toHex(header.previous),
      },
      announced: {
        ...header,
        policyDigest: toHex(header.policyDigest),
        registryDigest: toHex(header.registryDigest),
      },
      content: isRead ? { status: 'read', body } : { status: 'malformed' },
    };
  }
}

/** What a command says, without digests that differ from mesh to mesh. */
function commandText(command: RotationCommand): string {
  const { type, id } = command;
  switch (command.type) {
    case 'send-step': {
      const { operation, agentId, slots, attempt, evidence, documents } = command;
      const carried = [...documents, `${evidence.length} events`].join(', ');
      return `${id}: ${operation} ${slots.join(' ')} at ${agentId}, attempt ${attempt}, with ${carried}`;
    }
    case 'sign-statement':
      return `${id}: sign ${command.statement} on ${command.evidence.length} events`;
    case 'start-timer':
      return `${id}: wait ${command.delayMs} ms (${command.purpose})`;
    case 'reserve-slots':
      return `${id}: reserve ${command.slots.join(' ')}`;
    case 'validate-plan':
    case 'release-slots':
      return `${id}: ${type}`;
  }
}

/** The first thing that is not as it was recorded, or undefined. */
export function firstDifference(
  recorded: readonly Outcome[],
  folding: readonly Outcome[],
): string | undefined {
  for (let at = 0; at < Math.max(recorded.length, folding.length); at += 1) {
    const [before, now] = [recorded[at], folding[at]];
    if (isSame(before, now)) continue;
    const place = before ?? now;
    const where = `entry ${place?.index} of ${place?.sagaId} (${place?.event})`;
    return `${where}: was ${textOf(before)}, is ${textOf(now)}`;
  }
  return undefined;
}

function isSame(one: Outcome | undefined, other: Outcome | undefined): boolean {
  const isPlaced =
    one?.sagaId === other?.sagaId && one?.index === other?.index && one?.event === other?.event;
  return isPlaced && textOf(one) === textOf(other);
}

function textOf(outcome: Outcome | undefined): string {
  if (outcome === undefined) return 'not there';
  const { phase, decision, commands } = outcome;
  return `${phase}, decision ${decision}, commands [${commands.join('; ')}]`;
}

/**
 * The third level of checking an audit: what the events mean. Every record is judged again by the
 * code that the auditor judged it with, and the recorded verdict must be the one that follows. Beyond
 * that, what commands carry must be true: the receipt an auditor's, over this very tree, with the
 * phase that the saga was in; the evidence accepted before; the documents signed. A command that does
 * not hold is anybody's who can send one, and agents refuse it: it is counted. That an agent carried
 * one out is what does not hold, and it shows at the agent's report.
 */

import { eventTypes, type ReceiptsIssued } from '#schemas/events.ts';
import type { StepCommanded } from '#schemas/steps.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { AddressOf } from '#shared/core/entitlement.ts';
import { AuditJudge, type AuditEvent, type Judgement } from '#shared/core/audit-judge.ts';
import type { AuditTree } from '#shared/core/audit-tree.ts';
import type { AuditFailureCode } from '#shared/core/audit-verdict.ts';
import type { Verdict } from './audit-leaf.ts';
import { toHex } from './bytes.ts';
import { judgeOptions } from './audit-trust.ts';
import type { CryptoProvider } from './provider.ts';
import type { TrustView } from './trust.ts';

export interface Complaint {
  readonly code: AuditFailureCode;
  readonly reason: string;
}

/** A leaf that was judged, as receipts name it. */
export interface JudgedLeaf {
  readonly leafIndex: number;
  readonly verdict: Verdict;
  /** Of entries: the saga and index that they were written for. */
  readonly sagaId?: string;
  readonly sagaIndex?: number;
}

export class AuditMeaning {
  readonly judge: AuditJudge;
  readonly #trust: TrustView;
  readonly #tree: AuditTree;
  readonly #leaves = new Map<string, JudgedLeaf>();
  /** Commands that hold, and those that do not, by agent, id and operation. */
  readonly #sound = new Set<string>();
  readonly #unsound = new Map<string, Complaint>();

  constructor(
    crypto: CryptoProvider,
    options: { readonly trust: TrustView; readonly tree: AuditTree; readonly addressOf: AddressOf },
  ) {
    const { trust, tree, addressOf } = options;
    this.#trust = trust;
    this.#tree = tree;
    this.judge = new AuditJudge(judgeOptions(crypto, trust, addressOf));
  }

  /** Judges the next record. Returns the judgement, and what is wrong with the record, if anything. */
  take(
    event: AuditEvent,
    verdict: Verdict,
  ): { readonly judgement: Judgement | undefined; readonly complaint: Complaint | undefined } {
    const { hash, leafIndex, announced, content } = event;
    const isUndisclosed = content.status === 'unreadable';
    if (isUndisclosed && verdict === 'accepted') {
      this.#leaves.set(hash, { leafIndex, verdict });
      if (announced.type === 'saga-entry' || announced.type === 'document-offered') {
        const reason = 'what took effect is not disclosed';
        return { judgement: undefined, complaint: { code: 'CONTENT_MISSING', reason } };
      }
      const judgement = this.judge.admit(event);
      if (judgement.verdict === 'accepted') return { judgement, complaint: undefined };
      return { judgement, complaint: disagreement(judgement) };
    }
    const judgement = this.judge.judge(event);
    this.#leaves.set(hash, { leafIndex, verdict, ...sagaOf(event, judgement) });
    if (judgement.verdict !== verdict) return { judgement, complaint: disagreement(judgement) };
    if (verdict !== 'accepted') return { judgement, complaint: undefined };
    const command = commandOf(event);
    if (command !== undefined) this.#noteCommand(event, command);
    return { judgement, complaint: this.#reportComplaint(event) };
  }

  /** Commands that did not hold and that nobody carried out: somebody tried something. */
  get unsound(): number {
    return this.#unsound.size;
  }

  #noteCommand({ announced, leafIndex }: AuditEvent, command: StepCommanded): void {
    const step = stepKey(announced.audience, command);
    const complaint = this.#commandComplaint(command, leafIndex);
    if (complaint === undefined) {
      this.#sound.add(step);
      this.#unsound.delete(step);
    } else if (!this.#sound.has(step)) {
      const { code, reason } = complaint;
      this.#unsound.set(step, { code, reason: `${reason} (command at leaf ${leafIndex})` });
    }
  }

  /** An agent that carried out a command which did not hold. */
  #reportComplaint({ announced, content, sender }: AuditEvent): Complaint | undefined {
    if (announced.type !== 'step-reported' || content.status !== 'read') return undefined;
    const { body } = content;
    if (!eventTypes['step-reported'].body.check(body) || body.status !== 'done') return undefined;
    return this.#unsound.get(stepKey(sender.agentId, body));
  }

  #commandComplaint(command: StepCommanded, leafIndex: number): Complaint | undefined {
    const { receipt, evidence, plan, authorization, commit, recovery } = command;
    const opened = this.#trust.verifyEvidence(receipt);
    if (opened.status !== 'ok' || opened.event.type !== 'receipts-issued') {
      return { code: 'RECEIPT_INVALID', reason: 'the command carries no receipt of an auditor' };
    }
    const differs = this.#receiptDifference(opened.event.body, command, leafIndex);
    if (differs !== undefined) return { code: 'RECEIPT_DIFFERS', reason: differs };
    for (const document of [plan, authorization, commit, recovery]) {
      if (document === undefined) continue;
      if (this.#trust.verifyStatement(document, 'orchestration') !== 'ok') {
        return { code: 'DOCUMENT_INVALID', reason: `the ${document.body.kind} is not signed` };
      }
    }
    return evidence.every((disclosure) => this.#isAccepted(disclosure))
      ? undefined
      : {
          code: 'EVIDENCE_INVALID',
          reason: 'the command rests on what was not accepted before it',
        };
  }

  #isAccepted(disclosure: Disclosure): boolean {
    const opened = this.#trust.verifyEvidence(disclosure);
    return opened.status === 'ok' && this.#leaves.get(opened.event.hash)?.verdict === 'accepted';
  }

  /** The first thing that the receipt says and the log does not. */
  #receiptDifference(
    receipt: ReceiptsIssued,
    command: StepCommanded,
    leafIndex: number,
  ): string | undefined {
    const { treeSize, rootHash, entries } = receipt;
    if (treeSize > Math.min(leafIndex, this.#tree.size))
      return 'the receipt is for leaves that come later';
    if (toHex(this.#tree.root(treeSize)) !== rootHash) return 'the receipt is for another tree';
    for (const entry of entries) {
      const { statementHash, sagaId, sagaIndex, phase } = entry;
      const leaf = this.#leaves.get(statementHash);
      if (leaf?.leafIndex !== entry.leafIndex || leaf.verdict !== entry.verdict) {
        return `the receipt says otherwise of event ${statementHash}`;
      }
      if (leaf.sagaId !== sagaId || leaf.sagaIndex !== sagaIndex) {
        return `the receipt names another entry for event ${statementHash}`;
      }
      const recorded =
        entry.verdict === 'accepted' && sagaId !== undefined && sagaIndex !== undefined
          ? this.judge.phaseAt(sagaId, sagaIndex)
          : undefined;
      if (recorded !== phase) {
        return `the receipt says ${String(phase)}, and the saga was ${String(recorded)}`;
      }
    }
    const covers = entries.some(
      ({ verdict, sagaId, sagaIndex }) =>
        verdict === 'accepted' &&
        sagaId === command.sagaId &&
        (sagaIndex ?? -1) >= command.sagaIndex,
    );
    return covers ? undefined : 'the receipt does not cover the entry of the command';
  }
}

function stepKey(agentId: string, step: { commandId: string; operation: string }): string {
  return `${agentId} ${step.commandId} ${step.operation}`;
}

function disagreement(judgement: Judgement): Complaint {
  return judgement.verdict === 'accepted'
    ? { code: 'NOT_REFUSABLE', reason: 'the event was refused, and follows from those before' }
    : { code: 'NOT_ACCEPTABLE', reason: `${judgement.code}: ${judgement.reason}` };
}

function commandOf({ announced, content }: AuditEvent): StepCommanded | undefined {
  if (announced.type !== 'step-commanded' || content.status !== 'read') return undefined;
  const { body } = content;
  return eventTypes['step-commanded'].body.check(body) ? body : undefined;
}

/** What a receipt says of an entry's place, accepted or not. */
function sagaOf(event: AuditEvent, judgement: Judgement) {
  if (judgement.verdict === 'accepted') {
    if (judgement.saga === undefined) return {};
    const { sagaId, sagaIndex } = judgement.saga;
    return { sagaId, sagaIndex };
  }
  const { announced, content } = event;
  if (announced.type !== 'saga-entry' || content.status !== 'read') return {};
  const { body } = content;
  if (!eventTypes['saga-entry'].body.check(body)) return {};
  return { sagaId: body.sagaId, sagaIndex: body.index };
}

/**
 * A document handed to the running mesh: verified here first, then offered to everyone, then watched
 * until the orchestrators have it in force. What they refuse is known before it leaves this machine.
 */
import { checks, type MeshStatus } from '../answers.ts';
import { CliFault, exitCodes } from '../fault.ts';
import type { OperatorSession } from '../operator-session.ts';
import { orchestrationFault } from '../orchestration-fault.ts';
import type { Draft } from './draft.ts';
import { standingOf } from './standing.ts';

const lookEveryMs = 150;

/** Rules that a document breaks because another one came first; signing more does not help. */
const overtakenRules: ReadonlySet<string> = new Set([
  'ROLLBACK',
  'VERSION_TAKEN',
  'VERSION_SKIPPED',
  'DATES_INVALID',
  'EXPIRED',
]);

export interface Offered {
  readonly kind: Draft['body']['kind'];
  readonly digest: string;
  readonly adoptedBy: readonly string[];
}

export interface OfferInput {
  readonly draft: Draft;
  /** The document as UTF-8 JSON. */
  readonly bytes: Uint8Array;
  readonly timeoutMs: number;
  readonly onProgress: (line: string) => void;
}

/** What an offer needs of an operator's session. */
export type OfferingSession = Pick<
  OperatorSession,
  'crypto' | 'trust' | 'operatorId' | 'orchestrators' | 'offer' | 'learn' | 'askAgent'
>;

/** @throws CliFault with the code that agents would refuse it by; TIMEOUT */
export async function offerDocument(
  session: OfferingSession,
  { draft, bytes, timeoutMs, onProgress }: OfferInput,
): Promise<Offered> {
  const { crypto, trust } = session;
  const { digest, verdict, refusal } = standingOf(crypto, { trust, draft, nowMs: Date.now() });
  const { kind } = draft.body;
  if (verdict === 'refused' || verdict === 'superseded') {
    throw new CliFault({
      code: refusal?.code ?? (kind === 'policy' ? 'ORCH-8011' : 'ORCH-8010'),
      reason:
        refusal === undefined
          ? `ROLLBACK: this ${kind} was superseded by a newer one`
          : `${refusal.rule}: ${refusal.reason}`,
      hint:
        refusal === undefined || overtakenRules.has(refusal.rule)
          ? `Propose it anew on top of the one in force: gyre ${kind} propose --from FILE --out NEW.`
          : `See who has still to sign, and what else is wrong: gyre ${kind} verify FILE.`,
    });
  }
  if (verdict !== 'in force') {
    await session.offer(bytes);
    onProgress(`${kind} offered; waiting until the orchestrators have it in force`);
  }
  const deadlineMs = performance.now() + timeoutMs;
  const waiting = new Set(session.orchestrators);
  while (waiting.size > 0) {
    for (const agentId of waiting) {
      if (await hasAdopted(session, { agentId, draft, digest })) waiting.delete(agentId);
    }
    if (waiting.size === 0) break;
    if (performance.now() > deadlineMs) throw notAdopted(kind, [...waiting]);
    await new Promise((resolve) => {
      setTimeout(resolve, lookEveryMs);
    });
  }
  // A revocation has no version by which this operator's next look would find it missing.
  await session.learn(bytes);
  return { kind, digest, adoptedBy: session.orchestrators };
}

async function hasAdopted(
  session: OfferingSession,
  { agentId, draft, digest }: { agentId: string; draft: Draft; digest: string },
): Promise<boolean> {
  const { kind } = draft.body;
  try {
    const status = await session.askAgent(agentId, { ask: 'mesh-status' }, checks.meshStatus);
    requireHeard(session.operatorId, status);
    if (draft.body.kind === 'revocation') return status.revoked.includes(draft.body.agent_id);
    return kind === 'revocation' ? false : status.documents[kind].digest === digest;
  } catch (error) {
    if (error instanceof CliFault && error.exitCode === exitCodes.unreachable) return false;
    throw error;
  }
}

/** Who is locked out offers in vain. @throws CliFault with the code of the lockout */
function requireHeard(operatorId: string, { lockouts }: MeshStatus): void {
  const lockout = lockouts.find(({ sender }) => sender === operatorId);
  if (lockout === undefined) return;
  const until = new Date(lockout.untilMs).toISOString();
  const reason = `${operatorId} offered a bad document and is locked out until ${until}`;
  throw orchestrationFault(lockout.code, reason);
}

function notAdopted(kind: string, agents: readonly string[]): CliFault {
  return new CliFault({
    code: 'TIMEOUT',
    reason: `the ${kind} was offered, but ${agents.join(', ')} did not adopt it in time`,
    hint: 'Look at gyre status and at the logs of these agents; it may still be adopted.',
    exitCode: exitCodes.unreachable,
  });
}

/**
 * From the document in force, or a file, to the next version without signatures. What it would be
 * refused for whatever anybody signs (its shape, a policy that cannot be lived under) is said here,
 * before operators are asked for their keys.
 */
import { rolesHold } from '#shared/core/document-review.ts';
import { policyFaults } from '#shared/core/policy-faults.ts';
import type { Enrolled } from '#shared/crypto/enrolments.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import { CliFault } from '../fault.ts';
import { withChanges, type Change, type Json } from './changes.ts';
import { checkedDraft, type DocumentKind, type Draft } from './draft.ts';

const dayMs = 24 * 3_600_000;

export interface ProposalInput {
  readonly trust: TrustView;
  readonly kind: Exclude<DocumentKind, 'revocation'>;
  /** Where the body comes from: the document in force, or an edited copy of it. */
  readonly from: Json;
  readonly changes: readonly Change[];
  readonly expiresInDays: number;
  readonly nowMs: number;
}

/** @throws CliFault DOCUMENT_MALFORMED, or the code of the policy's first fault */
export function propose(input: ProposalInput): Draft {
  const { trust, kind, changes, expiresInDays, nowMs } = input;
  const fields = withChanges(bodyOf(input.from), changes);
  if (fields === null || typeof fields !== 'object' || Array.isArray(fields)) {
    return checkedDraft({ body: fields, signatures: [] }, kind, 'the proposal');
  }
  const body = {
    ...fields,
    kind,
    mesh: trust.mesh,
    version: trust.highest()[kind].version + 1,
    issued_at: new Date(nowMs).toISOString(),
    expires_at: new Date(nowMs + expiresInDays * dayMs).toISOString(),
    ...(kind === 'root' ? { upholds: trust.upheldNow() } : {}),
  };
  const draft = checkedDraft({ body, signatures: [] }, kind, 'the proposal');
  if (draft.body.kind === 'policy')
    refuseFaults(policyFaults(draft.body, trust.registry), 'policy');
  if (draft.body.kind === 'registry') {
    refuseFaults(policyFaults(trust.policy, draft.body), 'policy in force under this registry');
  }
  if (draft.body.kind === 'root' && !rolesHold(draft.body)) {
    throw new CliFault({
      code: 'ORCH-8010',
      reason: 'ROLES_INVALID: a role of this root has fewer keys than its threshold',
      hint: 'Nobody would adopt it; lower the threshold, or name more keys.',
    });
  }
  return draft;
}

/** @throws CliFault AGENT_UNKNOWN */
export function proposeRevocation(
  trust: TrustView,
  {
    agentId,
    reason,
    nowMs,
    force,
  }: {
    readonly agentId: string;
    readonly reason: string;
    readonly nowMs: number;
    /** Takes a revocation that leaves the mesh without what it cannot do without. */
    readonly force: boolean;
  },
): Draft {
  const enrolled = trust.agent(agentId);
  if (enrolled === undefined) {
    const known = trust.agents().map((agent) => agent.agentId);
    throw new CliFault({
      code: 'AGENT_UNKNOWN',
      reason: `${agentId} is not enrolled in this mesh`,
      hint: `Enrolled: ${known.join(', ')}.`,
    });
  }
  const loss = lossBy(trust, enrolled);
  if (loss !== undefined && !force) {
    throw new CliFault({
      code: 'WOULD_STOP_MESH',
      reason: `without ${agentId} ${loss}, and a revocation is never taken back`,
      hint: 'Say --force if that is what you want.',
    });
  }
  const body = {
    kind: 'revocation' as const,
    mesh: trust.mesh,
    agent_id: agentId,
    key_id: enrolled.keyId,
    reason,
    issued_at: new Date(nowMs).toISOString(),
  };
  return checkedDraft({ body, signatures: [] }, 'revocation', 'the revocation');
}

/** What the mesh could no longer do; undefined where others remain who can. */
function lossBy(trust: TrustView, { agentId, kind }: Enrolled): string | undefined {
  const others = trust
    .agents()
    .filter(
      (agent) =>
        agent.kind === kind && agent.agentId !== agentId && agent.revokedAtMs === undefined,
    );
  switch (kind) {
    case 'layer':
      return undefined;
    case 'operator': {
      const needed = Math.max(...Object.values(trust.policy.policies.rotation.approvals)) + 1;
      return others.length >= needed
        ? undefined
        : `${others.length} operators remain, and the policy asks for ${needed}`;
    }
    case 'signer':
    case 'auditor':
    case 'orchestrator':
      return others.length > 0 ? undefined : `no ${kind} remains`;
  }
}

/** A whole document, or a body alone. */
function bodyOf(from: Json): Json {
  const isDocument =
    from !== null && typeof from === 'object' && !Array.isArray(from) && 'body' in from;
  return isDocument ? (from['body'] ?? null) : from;
}

function refuseFaults(faults: ReturnType<typeof policyFaults>, what: string): void {
  const [first] = faults;
  if (first === undefined) return;
  const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : '';
  throw new CliFault({
    code: first.code,
    reason: `the ${what} does not hold: ${first.field}: ${first.reason}${more}`,
    hint: 'Nobody would adopt it; change the named field with --set.',
  });
}

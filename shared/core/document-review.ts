/**
 * Whether a root, registry, policy or revocation that somebody offers may take effect, as a pure
 * function of what is known of it and of what stands: no signature is checked here, only its result
 * is asked for. The rules are those of The Update Framework that apply where every client keeps the
 * whole history: versions never go down (rollback), a root follows its predecessor without a gap and is
 * signed by both thresholds (key compromise), a jump of versions is bounded and its floor falls once
 * the keys of its role are replaced (fast-forward), expired documents are adopted from no offer but an
 * auditor's (freeze), and a policy and a registry are taken only where one can live under both
 * (mix-and-match).
 */

import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import type { AgentKind, RoleName, RootBody } from '#schemas/trust.ts';
import { policyFaults } from './policy-faults.ts';

export const offeredKinds = ['root', 'registry', 'policy', 'revocation'] as const;
export type OfferedKind = (typeof offeredKinds)[number];

/** Registry and policy may skip versions (some were never handed out), by so many at the most. */
export const versionJumpMax = 1000;

export type DocumentRefusal =
  /** More bytes than a document may have; nothing was parsed. */
  | 'TOO_LARGE'
  | 'MALFORMED'
  /** Of a kind that is stated by the signer and never offered. */
  | 'KIND_NOT_OFFERED'
  | 'OTHER_MESH'
  /** Lower than the version in force. */
  | 'ROLLBACK'
  /** The version in force, with other content. */
  | 'VERSION_TAKEN'
  /** A root that is not the successor of the one in force. */
  | 'VERSION_SKIPPED'
  /** Further ahead than `versionJumpMax`. */
  | 'FAST_FORWARD'
  | 'ISSUED_IN_FUTURE'
  /** Not after its own issue, or before the document that it amends was issued. */
  | 'DATES_INVALID'
  | 'EXPIRED'
  | 'THRESHOLD_NOT_MET'
  | 'SIGNATURE_INVALID'
  /** The successor does not hold the keys that it names: too few of its own root keys signed. */
  | 'SUCCESSOR_THRESHOLD_NOT_MET'
  /** The hash-based signatures of the old or the new root are missing or do not hold. */
  | 'ANCHOR_NOT_MET'
  /** The root names a role without enough usable keys. */
  | 'ROLES_INVALID'
  /** The policy needs an algorithm that the registry does not know (ORCH-8003 of documents). */
  | 'ALGORITHM_UNKNOWN'
  /** Nobody could live under the policy with this registry (`policy-faults.ts`). */
  | 'POLICY_UNFIT'
  /** The revocation names an agent or a key that is not enrolled. */
  | 'AGENT_UNKNOWN';

/** What the receiver answers with; the lockout of the offerer follows from the table of codes. */
export type DocumentCode = 'ORCH-8010' | 'ORCH-8011' | 'ORCH-8015';

/** The code of a refused document: by its kind, where it has one. */
export function documentCode(
  kind: OfferedKind | undefined,
  refusal: DocumentRefusal,
): DocumentCode {
  if (refusal === 'KIND_NOT_OFFERED') return 'ORCH-8015';
  return kind === 'policy' || kind === 'revocation' ? 'ORCH-8011' : 'ORCH-8010';
}

/** A dated document as its body announces it. */
export interface Announced {
  readonly kind: 'root' | 'registry' | 'policy';
  readonly mesh: string;
  readonly version: number;
  readonly digest: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** What a new document is measured by. */
export interface Standing {
  readonly mesh: string;
  /** The newest of its kind. */
  readonly version: number;
  readonly digest: string;
  readonly issuedAtMs: number;
  /** The keys of its role were replaced since: its version says nothing any more (fast-forward). */
  readonly isFloorReset: boolean;
  /** Every digest of its kind that was ever adopted. */
  readonly isKnown: (digest: string) => boolean;
}

export interface ReviewTime {
  readonly nowMs: number;
  /**
   * The time that the event says which offers the document: whoever judges the log later has no other.
   * Nothing is adopted from an offer that says an earlier time than the document's own, and whether it
   * had expired is decided by this time alone, so that everyone decides the same whatever his clock says
   * and whenever the bus hands the offer over. That the time itself is credible is for whoever opens the
   * event.
   */
  readonly saidAtMs?: number | undefined;
  readonly skewMs: number;
  /**
   * Whether a document that has expired may be taken for what it is: one's own stored copy, the way to a
   * newer one, or what an auditor offers because the log lacks it. It makes the mesh stale.
   */
  readonly takesExpired: boolean;
}

/** `known`: in force already. Undefined: nothing but its signatures can speak against it. */
export function reviewDated(
  offered: Announced,
  standing: Standing,
  time: ReviewTime,
): 'known' | DocumentRefusal | undefined {
  if (offered.digest === standing.digest) return 'known';
  if (offered.mesh !== standing.mesh) return 'OTHER_MESH';
  return reviewVersion(offered, standing) ?? reviewDates(offered, standing, time);
}

function reviewVersion(offered: Announced, standing: Standing): DocumentRefusal | undefined {
  if (standing.isKnown(offered.digest)) return 'ROLLBACK';
  if (offered.kind !== 'root' && standing.isFloorReset) return undefined;
  if (offered.version < standing.version) return 'ROLLBACK';
  if (offered.version === standing.version) return 'VERSION_TAKEN';
  if (offered.kind === 'root') {
    return offered.version === standing.version + 1 ? undefined : 'VERSION_SKIPPED';
  }
  return offered.version > standing.version + versionJumpMax ? 'FAST_FORWARD' : undefined;
}

function reviewDates(
  { issuedAtMs, expiresAtMs }: Announced,
  standing: Standing,
  time: ReviewTime,
): DocumentRefusal | undefined {
  const isOrdered = expiresAtMs > issuedAtMs && issuedAtMs >= standing.issuedAtMs;
  if (!isOrdered) return 'DATES_INVALID';
  if (isInFuture(issuedAtMs, time)) return 'ISSUED_IN_FUTURE';
  return hasExpired(expiresAtMs, time) && !time.takesExpired ? 'EXPIRED' : undefined;
}

/** By any clock that may be as far ahead of the offer's time as the policy allows. */
function hasExpired(expiresAtMs: number, { nowMs, skewMs, saidAtMs = nowMs }: ReviewTime): boolean {
  return expiresAtMs <= saidAtMs + skewMs;
}

function isInFuture(issuedAtMs: number, { nowMs, skewMs, saidAtMs = nowMs }: ReviewTime): boolean {
  return issuedAtMs > Math.min(nowMs, saidAtMs) + skewMs;
}

/** Whether a document in force is still offered: of registry and policy only the newest, every root. */
export function isOfferedStill(
  { kind, version }: Pick<Announced, 'kind' | 'version'>,
  newest: Readonly<Record<Announced['kind'], { readonly version: number }>>,
): boolean {
  return kind === 'root' || version === newest[kind].version;
}

/**
 * Whether an offer of such an agent may be of a document that expired since: an auditor offers once more
 * what is in force and was lost from the log. A stolen one can so bring into force what operators signed,
 * never handed out, and did not take the place of by another version; an orchestrator can as well.
 */
export function mayOfferExpired(kind: AgentKind): boolean {
  return kind === 'auditor';
}

export interface RevocationCheck {
  readonly mesh: string;
  readonly issuedAtMs: number;
  /** Of the agent that is named: absent where nobody of that name is enrolled. */
  readonly enrolled?: { readonly keyId: string; readonly revokedAtMs?: number };
  readonly keyId: string;
}

/** As `reviewDated`. A revocation has no version: it is never taken back, only repeated. */
export function reviewRevocation(
  { mesh, issuedAtMs, enrolled, keyId }: RevocationCheck,
  standing: Pick<Standing, 'mesh'>,
  time: ReviewTime,
): 'known' | DocumentRefusal | undefined {
  if (mesh !== standing.mesh) return 'OTHER_MESH';
  if (enrolled?.keyId !== keyId) return 'AGENT_UNKNOWN';
  if (enrolled.revokedAtMs !== undefined) return 'known';
  if (Number.isNaN(issuedAtMs)) return 'DATES_INVALID';
  return isInFuture(issuedAtMs, time) ? 'ISSUED_IN_FUTURE' : undefined;
}

/** What checking the signatures of a document came to. */
export type SignatureResult = 'ok' | 'SIGNATURE_INVALID' | 'THRESHOLD_NOT_MET';

export interface RootSignatures {
  /** By the root role of the root in force, and of the offered one itself. */
  readonly byPredecessor: SignatureResult;
  readonly byItself: SignatureResult;
  /** The same, of the hash-based anchors. */
  readonly anchorOfPredecessor: SignatureResult;
  readonly anchorOfItself: SignatureResult;
}

/** A root stands only with both thresholds of both roots. */
export function reviewRootSignatures(signatures: RootSignatures): DocumentRefusal | undefined {
  const { byPredecessor, byItself, anchorOfPredecessor, anchorOfItself } = signatures;
  if (byPredecessor !== 'ok') return byPredecessor;
  if (byItself !== 'ok') return 'SUCCESSOR_THRESHOLD_NOT_MET';
  return anchorOfPredecessor === 'ok' && anchorOfItself === 'ok' ? undefined : 'ANCHOR_NOT_MET';
}

/** Whether every role could ever meet its threshold with the keys that the root carries. */
export function rolesHold({ roles, keys, anchor }: RootBody): boolean {
  const isAnchored = Object.keys(anchor.keys).length >= anchor.threshold;
  return (
    isAnchored &&
    Object.values(roles).every(({ key_ids: keyIds, threshold }) => {
      const usable = new Set(keyIds.filter((keyId) => Object.hasOwn(keys, keyId)));
      return usable.size === keyIds.length && usable.size >= threshold;
    })
  );
}

/**
 * Whether the keys of a role were replaced: those that stay could not meet the new threshold, so
 * whoever held the old ones can say nothing more.
 */
export function areKeysReplaced(before: RootBody, after: RootBody, role: RoleName): boolean {
  const old = new Set(before.roles[role].key_ids);
  const { key_ids: keyIds, threshold } = after.roles[role];
  return keyIds.filter((keyId) => old.has(keyId)).length < threshold;
}

/** What speaks against a policy and a registry together, or undefined where they fit each other. */
export function misfitOf(
  policy: PolicyBody,
  registry: RegistryBody,
): { readonly refusal: DocumentRefusal; readonly reason: string } | undefined {
  const [fault] = policyFaults(policy, registry);
  if (fault === undefined) return undefined;
  const refusal = fault.code === 'ORCH-8003' ? 'ALGORITHM_UNKNOWN' : 'POLICY_UNFIT';
  return { refusal, reason: `${fault.field}: ${fault.reason}` };
}

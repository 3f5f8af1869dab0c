/**
 * Where a document stands: who has signed it, what its threshold is, and whether a mesh that knows what
 * this view knows would take it now. The answer comes from the same code by which agents decide.
 */
import type { DocumentSignature } from '#schemas/document.ts';
import type { RoleName, RootBody } from '#schemas/trust.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { anchorKeysOf } from '#shared/crypto/root-roles.ts';
import { documentDigest, verifyAnchor, verifyDocument } from '#shared/crypto/signed-document.ts';
import type { DocumentKey } from '#shared/crypto/signed-document.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { DocumentKind, Draft } from './draft.ts';

/** One key whose signature counts, and what there is of it. */
export interface KeyStanding {
  readonly keyId: string;
  /** The operator who holds it, where one is enrolled with it. */
  readonly operator?: string;
  readonly algorithm: DocumentSignature['algorithm'];
  readonly state: 'signed' | 'invalid' | 'missing';
}

/** A threshold that must be met, by name: `policy`, `root`, `anchor`, `successor root` … */
export interface ThresholdStanding {
  readonly name: string;
  readonly threshold: number;
  readonly signed: number;
  readonly keys: readonly KeyStanding[];
}

export interface DocumentStanding {
  readonly kind: DocumentKind;
  /** 0 for a revocation, which has none. */
  readonly version: number;
  readonly digest: string;
  readonly expiresAt?: string;
  /** Of a revocation: whose enrolment it ends, and why. */
  readonly revokes?: { readonly agentId: string; readonly reason: string };
  readonly thresholds: readonly ThresholdStanding[];
  /** Signatures by keys that no threshold asks for. */
  readonly strangers: number;
  readonly verdict: 'in force' | 'adoptable' | 'superseded' | 'refused';
  /** Why it is refused: a code of the error table, the rule, and a sentence. */
  readonly refusal?: { readonly code: string; readonly rule: string; readonly reason: string };
}

/** Rules that only lacking signatures break. */
export const lackingRules: ReadonlySet<string> = new Set([
  'THRESHOLD_NOT_MET',
  'SUCCESSOR_THRESHOLD_NOT_MET',
  'ANCHOR_NOT_MET',
]);

function brokenText(thresholds: readonly ThresholdStanding[]): string | undefined {
  const broken = thresholds
    .flatMap(({ keys }) => keys)
    .flatMap(({ state, operator, keyId }) => (state === 'invalid' ? [operator ?? keyId] : []));
  const whose = [...new Set(broken)].join(', ');
  return whose === '' ? undefined : `${whose} signed something else, and has to sign again`;
}

/** The newest document of a kind, with its signatures. */
export function documentInForce(trust: TrustView, kind: 'root' | 'registry' | 'policy'): Draft {
  const newest = trust
    .documentsSince({ rootVersion: 0, registryVersion: 0, policyVersion: 0 })
    .findLast(({ body }) => body.kind === kind);
  return newest ?? trust.bundle[kind];
}

export function standingOf(
  crypto: CryptoProvider,
  {
    trust,
    draft,
    nowMs,
  }: { readonly trust: TrustView; readonly draft: Draft; readonly nowMs: number },
): DocumentStanding {
  const { body } = draft;
  const digest = documentDigest(crypto, body);
  const thresholds = thresholdsOf(crypto, trust, draft);
  const counted = new Set(thresholds.flatMap(({ keys }) => keys.map(({ keyId }) => keyId)));
  return {
    kind: body.kind,
    version: body.kind === 'revocation' ? 0 : body.version,
    digest,
    ...(body.kind === 'revocation'
      ? { revokes: { agentId: body.agent_id, reason: body.reason } }
      : { expiresAt: body.expires_at }),
    thresholds,
    strangers: draft.signatures.filter(({ key_id }) => !counted.has(key_id)).length,
    ...withCount(verdictOf({ trust, draft, nowMs, digest }), thresholds),
  };
}

/** Where signatures are lacking or do not hold, the reason says how many, or whose. */
function withCount(
  found: Pick<DocumentStanding, 'verdict' | 'refusal'>,
  thresholds: readonly ThresholdStanding[],
): Pick<DocumentStanding, 'verdict' | 'refusal'> {
  const { refusal } = found;
  if (refusal?.rule === 'SIGNATURE_INVALID') {
    const reason = brokenText(thresholds) ?? refusal.reason;
    return { ...found, refusal: { ...refusal, reason } };
  }
  const short = thresholds.find(({ signed, threshold }) => signed < threshold);
  if (refusal === undefined || short === undefined) return found;
  if (!lackingRules.has(refusal.rule)) return found;
  const { name, signed, threshold } = short;
  const reason = `${signed} of ${threshold} signatures of the ${name} role`;
  return { ...found, refusal: { ...refusal, reason } };
}

function verdictOf({
  trust,
  draft,
  nowMs,
  digest,
}: {
  readonly trust: TrustView;
  readonly draft: Draft;
  readonly nowMs: number;
  readonly digest: string;
}): Pick<DocumentStanding, 'verdict' | 'refusal'> {
  const highest = trust.highest();
  const { kind } = draft.body;
  if (kind !== 'revocation' && highest[kind].digest === digest) {
    const [stale] = trust.staleness(nowMs).filter((each) => each === kind);
    return stale === undefined ? { verdict: 'in force' } : expired(kind);
  }
  const wasInForce =
    (kind === 'policy' && trust.policyOf(digest) !== undefined) ||
    (kind === 'registry' && trust.registryOf(digest) !== undefined);
  if (wasInForce) return { verdict: 'superseded' };
  if (draft.signatures.length === 0) {
    const code = kind === 'root' || kind === 'registry' ? 'ORCH-8010' : 'ORCH-8011';
    const reason = 'nobody has signed it yet';
    return { verdict: 'refused', refusal: { code, rule: 'THRESHOLD_NOT_MET', reason } };
  }
  const adoption = copyOf(trust, nowMs).adopt(draft, nowMs);
  if (adoption.status !== 'refused')
    return { verdict: adoption.status === 'known' ? 'in force' : 'adoptable' };
  const { code, refusal, reason } = adoption;
  return { verdict: 'refused', refusal: { code, rule: refusal, reason } };
}

function expired(kind: DocumentKind): Pick<DocumentStanding, 'verdict' | 'refusal'> {
  const code = kind === 'policy' ? 'ORCH-8011' : 'ORCH-8010';
  const reason = `the ${kind} in force has expired: what runs goes on, nothing new begins`;
  return { verdict: 'refused', refusal: { code, rule: 'EXPIRED', reason } };
}

/** A view that knows the same documents, to try something on. */
function copyOf(trust: TrustView, nowMs: number): TrustView {
  const copy = trust.atGenesis();
  const none = { rootVersion: 0, registryVersion: 0, policyVersion: 0 };
  for (const document of trust.documentsSince(none)) {
    copy.adopt(document, nowMs, { takesExpired: true });
  }
  return copy;
}

function thresholdsOf(
  crypto: CryptoProvider,
  trust: TrustView,
  { body, signatures }: Draft,
): ThresholdStanding[] {
  const document = { body, signatures: [...signatures] };
  const counted = (
    name: string,
    { keys, threshold }: { readonly keys: readonly DocumentKey[]; readonly threshold: number },
    algorithm: KeyStanding['algorithm'],
  ): ThresholdStanding => {
    const check = algorithm === 'ML-DSA-87' ? verifyDocument : verifyAnchor;
    const standings = keys.map((key): KeyStanding => {
      const own = document.signatures.filter(
        (one) => one.key_id === key.keyId && one.algorithm === algorithm,
      );
      const holds =
        own.length > 0 &&
        check(crypto, { body, signatures: own }, { keys: [key], threshold: 1 }) === 'ok';
      const operator = operatorOf(trust, key.keyId);
      return {
        keyId: key.keyId,
        ...(operator === undefined ? {} : { operator }),
        algorithm,
        state: holds ? 'signed' : own.length > 0 ? 'invalid' : 'missing',
      };
    });
    const signed = standings.filter(({ state }) => state === 'signed').length;
    return { name, threshold, signed, keys: standings };
  };
  if (body.kind !== 'root') {
    const role: RoleName = body.kind === 'registry' ? 'registry' : 'policy';
    const { threshold } = trust.root.roles[role];
    return [counted(role, { keys: trust.roleKeys(role), threshold }, 'ML-DSA-87')];
  }
  const isSuccessor = documentDigest(crypto, body) !== trust.highest().root.digest;
  return [
    ...rootThresholds(trust.root, isSuccessor ? 'present ' : ''),
    ...(isSuccessor ? rootThresholds(body, 'new ') : []),
  ].map(({ name, accepted, algorithm }) => counted(name, accepted, algorithm));
}

function rootThresholds(root: RootBody, prefix: string) {
  const keys = root.roles.root.key_ids.flatMap((keyId) => {
    const text = root.keys[keyId]?.public_key;
    return text === undefined ? [] : [{ keyId, publicKey: Buffer.from(text, 'base64url') }];
  });
  return [
    {
      name: `${prefix}root`,
      accepted: { keys, threshold: root.roles.root.threshold },
      algorithm: 'ML-DSA-87' as const,
    },
    {
      name: `${prefix}anchor`,
      accepted: { keys: anchorKeysOf(root), threshold: root.anchor?.threshold ?? 1 },
      algorithm: 'SLH-DSA-SHAKE-256s' as const,
    },
  ];
}

function operatorOf(trust: TrustView, keyId: string): string | undefined {
  return trust.agents().find((agent) => agent.kind === 'operator' && agent.keyId === keyId)
    ?.agentId;
}

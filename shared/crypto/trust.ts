/**
 * From a bundle of documents and one pinned digest to a view of who may do what: the root names the
 * roles' keys, operators sign registry and policy, the enrolment role vouches for every agent.
 *
 * The bundle is the genesis: later documents are adopted one by one (`living-documents.ts`), and
 * `registry`, `policy` and the roles' keys are always those of the newest. Nobody keeps their digests.
 * Verification is synchronous and asks no clock: whoever holds a `TrustView` holds documents that were
 * checked, and `staleness` says which of them have expired since.
 */

import type { Disclosure } from '#schemas/frame.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import {
  trustBundleCheck,
  type RoleName,
  type RootBody,
  type TrustBundle,
} from '#schemas/trust.ts';
import type { SignedDocument } from '#schemas/document.ts';
import { misfitOf, rolesHold } from '#shared/core/document-review.ts';
import { BoundedMap } from './bounded-map.ts';
import { toHex, utf8 } from './bytes.ts';
import type { AdoptedDocument, DatedBody, VersionStanding } from './document-history.ts';
import { Enrolments, enrolledFrom, type Enrolled } from './enrolments.ts';
import { CryptoError } from './errors.ts';
import { EvidenceCheck, type EvidenceOpening } from './evidence-check.ts';
import {
  LivingDocuments,
  type AdoptOptions,
  type Adoption,
  type AmendedDocument,
} from './living-documents.ts';
import type { KnownVersions } from './known-versions.ts';
import type { CryptoProvider } from './provider.ts';
import { documentDigest } from './signed-document.ts';
import type { DocumentKey } from './signed-document.ts';

export type { Enrolled } from './enrolments.ts';
export type { AdoptOptions, Adoption, AmendedDocument } from './living-documents.ts';

/** Statements of the signer that stay verified under the root in force when they were first shown. */
const statementsMax = 65_536;

export type RoleKey = DocumentKey;

export type TrustRefusal =
  | 'BUNDLE_MALFORMED'
  | 'ROOT_NOT_PINNED'
  | 'ROOT_INVALID'
  | 'REGISTRY_INVALID'
  | 'POLICY_INVALID'
  | 'ENROLMENT_INVALID'
  /** A document was issued later than now: a clock is wrong. */
  | 'TRUST_NOT_YET_VALID';

interface Refused {
  readonly status: 'refused';
  readonly code: TrustRefusal;
  readonly reason: string;
}

export type TrustOpening = { readonly status: 'ok'; readonly trust: TrustView } | Refused;

export interface TrustInput {
  readonly bundle: unknown;
  /** Pinned digest of the root's body, hexadecimal SHA3-256. */
  readonly rootDigest: string;
  /**
   * Where given, documents that were issued later than that are refused (agents); expired ones never
   * are: they make the view stale. Offline verification gives none.
   */
  readonly nowMs?: number;
}

export interface Versioned {
  readonly version: number;
  /** Hexadecimal. */
  readonly digest: string;
}

export type Adopted = Extract<Adoption, { status: 'adopted' }>;

/** Checks a bundle of any origin against the pinned root. Never throws for what is in it. */
export function openTrust(crypto: CryptoProvider, input: TrustInput): TrustOpening {
  const { bundle } = input;
  if (!trustBundleCheck.check(bundle)) {
    return refused('BUNDLE_MALFORMED', trustBundleCheck.errors(bundle).join('; '));
  }
  try {
    return opened(crypto, bundle, input);
  } catch (fault) {
    if (!(fault instanceof CryptoError) || fault.code !== 'NOT_ENCODABLE') throw fault;
    return refused('BUNDLE_MALFORMED', 'a document has no canonical form');
  }
}

function opened(
  crypto: CryptoProvider,
  bundle: TrustBundle,
  { rootDigest, nowMs }: TrustInput,
): TrustOpening {
  if (documentDigest(crypto, bundle.root.body) !== rootDigest) {
    return refused('ROOT_NOT_PINNED', 'the root document is not the pinned one');
  }
  const enrolled = bundle.enrolments.flatMap(({ body }) => enrolledFrom(crypto, body) ?? []);
  const view = new TrustView(crypto, {
    bundle,
    rootDigest,
    enrolled,
    enrolmentsDigest: enrolmentsDigestOf(crypto, bundle),
    evidence: new EvidenceCheck(crypto),
  });
  return checkBundle(view, nowMs) ?? { status: 'ok', trust: view };
}

interface Genesis {
  readonly bundle: TrustBundle;
  readonly rootDigest: string;
  readonly enrolled: readonly Enrolled[];
  readonly enrolmentsDigest: string;
  /** Shared by all views of the bundle: a signature holds or does not, whatever is in force. */
  readonly evidence: EvidenceCheck;
}

export class TrustView {
  readonly #crypto: CryptoProvider;
  readonly #genesis: Genesis;
  readonly #enrolments: Enrolments;
  readonly #documents: LivingDocuments;
  readonly #statements = new BoundedMap<true>(statementsMax);
  readonly #listeners = new Set<(adopted: Adopted) => void>();

  /** Of documents that `openTrust` checks. */
  constructor(crypto: CryptoProvider, genesis: Genesis, twin?: LivingDocuments) {
    this.#crypto = crypto;
    this.#genesis = genesis;
    this.#enrolments = new Enrolments(genesis.enrolled);
    this.#documents = new LivingDocuments(crypto, genesis.bundle, this.#enrolments, twin);
  }

  get mesh(): string {
    return this.#documents.mesh;
  }

  /** As provisioned. What came later is in `documentsSince`. */
  get bundle(): TrustBundle {
    return this.#genesis.bundle;
  }

  /** Of the pinned root, from which every later one follows; hexadecimal. */
  get rootDigest(): string {
    return this.#genesis.rootDigest;
  }

  /** SHA3-256 over the digests of all enrolments in order of agent id, hexadecimal. */
  get enrolmentsDigest(): string {
    return this.#genesis.enrolmentsDigest;
  }

  get root(): RootBody {
    return this.#documents.root.newest.document.body;
  }

  get registry(): RegistryBody {
    return this.#documents.registry.newest.document.body;
  }

  get policy(): PolicyBody {
    return this.#documents.policy.newest.document.body;
  }

  get registryDigest(): string {
    return this.#documents.registry.newest.digest;
  }

  get policyDigest(): string {
    return this.#documents.policy.newest.digest;
  }

  /** The newest versions, digests in hexadecimal. */
  highest(): {
    readonly root: Versioned;
    readonly registry: Versioned;
    readonly policy: Versioned;
  } {
    const { root, registry, policy } = this.#documents;
    return {
      root: versioned(root.newest),
      registry: versioned(registry.newest),
      policy: versioned(policy.newest),
    };
  }

  /**
   * Takes a root, registry, policy or revocation that somebody offers, if it holds at the time of the offer
   * (`saidAtMs`), or at `nowMs` where none is known; what does not hold changes nothing. Never throws for
   * what the document contains.
   */
  adopt(document: unknown, nowMs: number, options?: AdoptOptions): Adoption {
    return this.#tell(this.#documents.adopt(document, nowMs, options));
  }

  /** As `adopt`, of UTF-8 JSON as events carry it; at most 384 KiB are parsed. */
  adoptBytes(bytes: Uint8Array, nowMs: number, options?: AdoptOptions): Adoption {
    return this.#tell(this.#documents.adoptBytes(bytes, nowMs, options));
  }

  /** Called after each adoption, in order. Returns how to end it. */
  onAdopted(listener: (adopted: Adopted) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Every later document above these versions, and every revocation, in an order in which they hold. */
  documentsSince(known: KnownVersions): AmendedDocument[] {
    return this.#documents.since(known);
  }

  /** What a root names as standing that is signed now. */
  upheldNow(): NonNullable<RootBody['upholds']> {
    return this.#documents.standing();
  }

  /** Every policy that was ever in force, by digest. */
  policyOf(digest: string): PolicyBody | undefined {
    return this.#documents.policy.of(digest)?.document.body;
  }

  registryOf(digest: string): RegistryBody | undefined {
    return this.#documents.registry.of(digest)?.document.body;
  }

  /**
   * The policy by which a saga is judged that began under that digest: its own, unless a later one
   * applies at once, then the newest. Undefined where the digest was never in force.
   */
  policyFor(basisDigest: string): PolicyBody | undefined {
    return this.policiesFor(basisDigest).at(-1);
  }

  /** Every policy by which such a saga was judged at some time until now, its own first. */
  policiesFor(basisDigest: string): PolicyBody[] {
    const history = this.#documents.policy;
    const own = history.of(basisDigest);
    if (own === undefined) return [];
    const later = history.after(own);
    const first = later.findIndex(({ document }) => document.body.applies === 'at-once');
    return [own, ...(first === -1 ? [] : later.slice(first))].map(({ document }) => document.body);
  }

  /** When the successor of that policy was adopted; undefined while it is the newest. */
  policySupersededAtMs(digest: string): number | undefined {
    return this.#documents.policy.supersededAtMs(digest);
  }

  registrySupersededAtMs(digest: string): number | undefined {
    return this.#documents.registry.supersededAtMs(digest);
  }

  /** How the versions that an event names stand to those that were adopted. */
  standingOf(kind: 'registry' | 'policy', named: Versioned): VersionStanding {
    return this.#documents[kind].standingOf(named);
  }

  /** Whether the policy `digest` was adopted after `earlier`, or is the same. */
  isPolicyNotOlder(digest: string, earlier: string): boolean {
    return this.#documents.policy.isNotOlder(digest, earlier);
  }

  isRegistryNotOlder(digest: string, earlier: string): boolean {
    return this.#documents.registry.isNotOlder(digest, earlier);
  }

  /** Kinds whose newest document has expired: no new plans, epochs, privileges (freeze). */
  staleness(nowMs: number): ('root' | 'registry' | 'policy')[] {
    const newest = [this.root, this.registry, this.policy];
    return newest
      .filter(({ expires_at: expiresAt }) => Date.parse(expiresAt) <= nowMs)
      .map(({ kind }) => kind);
  }

  /** A view of the same bundle that has adopted nothing yet: for whoever folds a log from its begin. */
  atGenesis(): TrustView {
    return new TrustView(this.#crypto, this.#genesis, this.#documents);
  }

  agent(agentId: string): Enrolled | undefined {
    return this.#enrolments.of(agentId);
  }

  /** Whether a revocation of the agent was adopted, whatever time it names. */
  isRevoked(agentId: string): boolean {
    return this.agent(agentId)?.revokedAtMs !== undefined;
  }

  agents(): Enrolled[] {
    return this.#enrolments.all();
  }

  /** Keys of the role by the newest root. */
  roleKeys(role: RoleName): readonly RoleKey[] {
    return this.#documents.roles.keys(role);
  }

  /**
   * Whether enough keys of `role` signed the document. What held once under a root of this chain stays
   * verified; by a key that a later root removed nothing new is.
   */
  verifyStatement(
    document: SignedDocument<{ kind: string }>,
    role: RoleName,
  ): 'ok' | 'SIGNATURE_INVALID' {
    const shown = utf8(JSON.stringify([role, document]));
    const name = toHex(this.#crypto.sha256(shown));
    if (this.#statements.get(name) === true) return 'ok';
    if (this.#documents.roles.check(document, role) !== 'ok') return 'SIGNATURE_INVALID';
    this.#statements.set(name, true);
    return 'ok';
  }

  /** Checks an event that somebody else received: who said it, and that its body is what was said. */
  verifyEvidence(disclosure: Disclosure): EvidenceOpening {
    return this.#genesis.evidence.verify(disclosure, {
      agent: (agentId) => this.agent(agentId),
      skewMs: this.policy.policies.rotation.clock_skew_ms,
    });
  }

  /** The root of the bundle, by its own keys and anchors. */
  verifyRoot(root: SignedDocument<RootBody>): 'ok' | 'SIGNATURE_INVALID' {
    const { roles } = this.#documents;
    const holds = roles.check(root, 'root') === 'ok' && roles.checkAnchor(root) === 'ok';
    return holds ? 'ok' : 'SIGNATURE_INVALID';
  }

  #tell(adoption: Adoption): Adoption {
    if (adoption.status === 'adopted') {
      for (const listener of this.#listeners) listener(adoption);
    }
    return adoption;
  }
}

function versioned({ document, digest }: AdoptedDocument<DatedBody>): Versioned {
  return { version: document.body.version, digest };
}

/** Every document of the bundle; used once, by `openTrust`. */
function checkBundle(view: TrustView, nowMs: number | undefined): Refused | undefined {
  const { root, registry, policy } = view.bundle;
  if (!rolesHold(root.body) || view.verifyRoot(root) !== 'ok') {
    return refused('ROOT_INVALID', 'the root is not signed by its threshold');
  }
  if (registry.body.mesh !== view.mesh || view.verifyStatement(registry, 'registry') !== 'ok') {
    return refused('REGISTRY_INVALID', 'the registry is not signed by the registry role');
  }
  if (policy.body.mesh !== view.mesh || view.verifyStatement(policy, 'policy') !== 'ok') {
    return refused('POLICY_INVALID', 'the policy is not signed by the policy role');
  }
  const misfit = misfitOf(policy.body, registry.body);
  if (misfit !== undefined) return refused('POLICY_INVALID', misfit.reason);
  const early = [root.body, registry.body, policy.body].find(
    ({ issued_at: issuedAt }) => nowMs !== undefined && nowMs < Date.parse(issuedAt) - 60_000,
  );
  return early === undefined
    ? checkEnrolments(view)
    : refused('TRUST_NOT_YET_VALID', `the ${early.kind} is issued later than this clock says`);
}

function checkEnrolments(view: TrustView): Refused | undefined {
  const { enrolments } = view.bundle;
  for (const enrolment of enrolments) {
    const { agent_id: agentId, mesh } = enrolment.body;
    if (mesh !== view.mesh || view.verifyStatement(enrolment, 'enrolment') !== 'ok') {
      return refused('ENROLMENT_INVALID', `the enrolment of ${agentId} is not signed`);
    }
    if (view.agent(agentId) === undefined) {
      const reason = `the enrolment of ${agentId} names no usable keys or a reserved id`;
      return refused('ENROLMENT_INVALID', reason);
    }
  }
  return new Set(enrolments.map(({ body }) => body.agent_id)).size === enrolments.length
    ? undefined
    : refused('ENROLMENT_INVALID', 'an agent is enrolled twice');
}

function enrolmentsDigestOf(crypto: CryptoProvider, { enrolments }: TrustBundle): string {
  const bodies = enrolments
    .map((document) => document.body)
    .toSorted((left, right) => (left.agent_id < right.agent_id ? -1 : 1));
  const digests = bodies.map((body) => documentDigest(crypto, body));
  return documentDigest(crypto, { kind: 'enrolments', digests });
}

function refused(code: TrustRefusal, reason: string): Refused {
  return { status: 'refused', code, reason };
}

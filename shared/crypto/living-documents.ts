/**
 * The documents of a mesh as they are amended: root, registry, policy and revocations, from the genesis
 * bundle on. Every document is verified here, whoever hands it over, and one that does not hold changes
 * nothing: the last good one stays in force. What may be adopted is decided by
 * `shared/core/document-review.ts`; here are the signatures, the digests and the histories.
 *
 * A new root counts from its adoption. What its predecessor's keys signed before stays adopted; a role
 * whose keys were replaced says nothing new by the old ones.
 */

import { documentBytesMax, type SignedDocument } from '#schemas/document.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import {
  offeredDocumentCheck,
  upheldRevocationsMax,
  type OfferedDocument,
  type RevocationBody,
  type RootBody,
  type TrustBundle,
} from '#schemas/trust.ts';
import {
  areKeysReplaced,
  documentCode,
  misfitOf,
  offeredKinds,
  reviewDated,
  reviewRevocation,
  reviewRootSignatures,
  rolesHold,
  type DocumentCode,
  type DocumentRefusal,
  type OfferedKind,
  type ReviewTime,
  type SignatureResult,
  versionJumpMax,
} from '#shared/core/document-review.ts';
import { DocumentHistory, type AdoptedDocument, type DatedBody } from './document-history.ts';
import type { Enrolments } from './enrolments.ts';
import { CryptoError } from './errors.ts';
import type { KnownVersions } from './known-versions.ts';
import type { CryptoProvider } from './provider.ts';
import { RootRoles } from './root-roles.ts';
import { documentDigest } from './signed-document.ts';

export type Adoption =
  | {
      readonly status: 'adopted';
      readonly kind: OfferedKind;
      /** 0 for revocations, which have none. */
      readonly version: number;
      readonly digest: string;
      readonly document: AmendedDocument;
    }
  | { readonly status: 'known' }
  | {
      readonly status: 'refused';
      readonly code: DocumentCode;
      readonly refusal: DocumentRefusal;
      readonly reason: string;
    };

export interface AdoptOptions {
  /** Takes documents that have expired: one's own stored copies, the way to newer ones, auditors' offers. */
  readonly takesExpired?: boolean;
  /** When the event was said that offers it, by its sender's clock. */
  readonly saidAtMs?: number;
}

/** A document that is looked at, and when. */
interface Offer extends ReviewTime {
  readonly digest: string;
}

export type AmendedDocument = SignedDocument<RootBody | RegistryBody | PolicyBody | RevocationBody>;

type GenesisBundle = Pick<TrustBundle, 'root' | 'registry' | 'policy'>;

/** What follows from a genesis alone. */
interface GenesisFacts {
  readonly roles: RootRoles;
  /** Of root, registry and policy, hexadecimal. */
  readonly digests: Readonly<Record<keyof GenesisBundle, string>>;
}

type Upheld = RegistryBody | PolicyBody | RevocationBody;

/** For a bundle whose documents were checked. */
export class LivingDocuments {
  readonly root: DocumentHistory<RootBody>;
  readonly registry: DocumentHistory<RegistryBody>;
  readonly policy: DocumentHistory<PolicyBody>;
  readonly #crypto: CryptoProvider;
  readonly #enrolments: Enrolments;
  readonly #genesis: GenesisFacts;
  readonly #revocations: AdoptedDocument<RevocationBody>[] = [];
  #roles: RootRoles;
  /** Digests that the roots vouch for. */
  readonly #upheld = new Set<string>();
  #adopted = 0;

  /** `twin`: of the same genesis and provider; what follows from them is not found out again. */
  constructor(
    crypto: CryptoProvider,
    genesis: GenesisBundle,
    enrolments: Enrolments,
    twin?: LivingDocuments,
  ) {
    this.#crypto = crypto;
    this.#enrolments = enrolments;
    this.#genesis = twin === undefined ? factsOf(crypto, genesis) : twin.#genesis;
    const { roles, digests } = this.#genesis;
    this.#roles = roles;
    const first = <Body extends DatedBody>(document: SignedDocument<Body>, digest: string) =>
      new DocumentHistory(this.#entry(document, Date.parse(document.body.issued_at), digest));
    this.root = first(genesis.root, digests.root);
    this.registry = first(genesis.registry, digests.registry);
    this.policy = first(genesis.policy, digests.policy);
  }

  get mesh(): string {
    return this.root.newest.document.body.mesh;
  }

  /** Keys of the newest root. */
  get roles(): RootRoles {
    return this.#roles;
  }

  /** Never throws for what the document contains. */
  adopt(document: unknown, nowMs: number, options: AdoptOptions = {}): Adoption {
    const kind = kindOf(document);
    if (kind === undefined) {
      const refusal = kindNameOf(document) === undefined ? 'MALFORMED' : 'KIND_NOT_OFFERED';
      return refused(kind, refusal, 'this is no document that can be offered');
    }
    if (!offeredDocumentCheck.check(document)) {
      return refused(kind, 'MALFORMED', offeredDocumentCheck.errors(document).join('; '));
    }
    const digest = this.#digestOf(document);
    if (digest === undefined) return refused(kind, 'MALFORMED', 'it has no canonical form');
    const offer: Offer = {
      digest,
      nowMs,
      skewMs: this.policy.newest.document.body.policies.rotation.clock_skew_ms,
      takesExpired: options.takesExpired ?? false,
      saidAtMs: options.saidAtMs,
    };
    const { body, signatures } = document;
    switch (body.kind) {
      case 'root':
        return this.#adoptRoot({ body, signatures }, offer);
      case 'registry':
        return this.#adoptRegistry({ body, signatures }, offer);
      case 'policy':
        return this.#adoptPolicy({ body, signatures }, offer);
      case 'revocation':
        return this.#adoptRevocation({ body, signatures }, offer);
    }
  }

  /** As `adopt`, of UTF-8 JSON; the size is looked at before anything is parsed. */
  adoptBytes(bytes: Uint8Array, nowMs: number, options: AdoptOptions = {}): Adoption {
    if (bytes.length > documentBytesMax) {
      return refused(undefined, 'TOO_LARGE', `a document has at most ${documentBytesMax} bytes`);
    }
    const document = parsed(bytes);
    if (document === undefined) return refused(undefined, 'MALFORMED', 'this is no JSON');
    return this.adopt(document, nowMs, options);
  }

  /** What a root names that is signed now; the newest revocations where it has no room for all. */
  standing(): NonNullable<RootBody['upholds']> {
    const revocations = this.#revocations.slice(-upheldRevocationsMax);
    return {
      registry: this.registry.newest.digest,
      policy: this.policy.newest.digest,
      revocations: revocations.map(({ digest }) => digest),
    };
  }

  /** Everything above the given versions and all revocations, in an order in which it holds. */
  since({ rootVersion, registryVersion, policyVersion }: KnownVersions): AmendedDocument[] {
    const found: AdoptedDocument<AmendedDocument['body']>[] = [
      ...this.root.since(rootVersion),
      ...this.registry.since(registryVersion),
      ...this.policy.since(policyVersion),
      ...this.#revocations,
    ];
    return found
      .toSorted((left, right) => left.order - right.order)
      .map(({ document }) => document);
  }

  #adoptRoot(document: SignedDocument<RootBody>, offer: Offer): Adoption {
    const unfit = this.#review(this.root, document.body, offer);
    if (unfit !== undefined) return unfit;
    const { body } = document;
    if (!rolesHold(body)) {
      return refused('root', 'ROLES_INVALID', 'a role has fewer keys than its threshold');
    }
    const successor = new RootRoles(this.#crypto, body);
    const refusal = reviewRootSignatures({
      byPredecessor: this.#roles.check(document, 'root'),
      byItself: successor.check(document, 'root'),
      anchorOfPredecessor: this.#roles.checkAnchor(document),
      anchorOfItself: successor.checkAnchor(document),
    });
    if (refusal !== undefined) {
      return refused('root', refusal, 'not signed by the thresholds of both roots');
    }
    const before = this.root.newest.document.body;
    if (areKeysReplaced(before, body, 'registry')) this.registry.resetFloor();
    if (areKeysReplaced(before, body, 'policy')) this.policy.resetFloor();
    this.#roles = successor;
    for (const upheld of upheldBy(body)) this.#upheld.add(upheld);
    return this.#added(this.root, document, offer);
  }

  #adoptRegistry(document: SignedDocument<RegistryBody>, offer: Offer): Adoption {
    const unfit = this.#review(this.registry, document.body, offer);
    if (unfit !== undefined) return unfit;
    const signed = this.#signed(document, offer);
    if (signed !== 'ok') return refused('registry', signed, 'not signed by the registry role');
    const misfit = misfitOf(this.policy.newest.document.body, document.body);
    return misfit !== undefined
      ? refused('registry', misfit.refusal, misfit.reason)
      : this.#added(this.registry, document, offer);
  }

  #adoptPolicy(document: SignedDocument<PolicyBody>, offer: Offer): Adoption {
    const unfit = this.#review(this.policy, document.body, offer);
    if (unfit !== undefined) return unfit;
    const signed = this.#signed(document, offer);
    if (signed !== 'ok') return refused('policy', signed, 'not signed by the policy role');
    const misfit = misfitOf(document.body, this.registry.newest.document.body);
    return misfit !== undefined
      ? refused('policy', misfit.refusal, misfit.reason)
      : this.#added(this.policy, document, offer);
  }

  #adoptRevocation(document: SignedDocument<RevocationBody>, offer: Offer): Adoption {
    const { mesh, agent_id: agentId, key_id: keyId, issued_at: issuedAt } = document.body;
    const enrolled = this.#enrolments.of(agentId);
    const issuedAtMs = Date.parse(issuedAt);
    const finding = reviewRevocation(
      { mesh, keyId, issuedAtMs, ...(enrolled === undefined ? {} : { enrolled }) },
      { mesh: this.mesh },
      offer,
    );
    if (finding === 'known') return { status: 'known' };
    if (finding !== undefined) return refused('revocation', finding, refusalReasons[finding]);
    const signed = this.#signed(document, offer);
    if (signed !== 'ok') return refused('revocation', signed, 'not signed by the policy role');
    this.#enrolments.revoke(agentId, issuedAtMs);
    this.#revocations.push(this.#entry(document, offer.nowMs, offer.digest));
    return { status: 'adopted', kind: 'revocation', version: 0, digest: offer.digest, document };
  }

  /** By its role's keys, or by the word of a root: what stood before a root stands after it. */
  #signed(document: SignedDocument<Upheld>, { digest }: Offer): SignatureResult {
    if (this.#upheld.has(digest)) return 'ok';
    const { kind } = document.body;
    return this.#roles.check(document, kind === 'registry' ? 'registry' : 'policy');
  }

  /** What speaks against the document before its signatures are looked at. */
  #review<Body extends DatedBody>(
    history: DocumentHistory<Body>,
    body: Body,
    offer: Offer,
  ): Adoption | undefined {
    const { document, digest } = history.newest;
    const standing = {
      mesh: this.mesh,
      version: document.body.version,
      digest,
      issuedAtMs: Date.parse(document.body.issued_at),
      isFloorReset: history.isFloorReset,
      isKnown: (other: string) => history.isKnown(other),
    };
    const announced = {
      kind: body.kind,
      mesh: body.mesh,
      version: body.version,
      digest: offer.digest,
      issuedAtMs: Date.parse(body.issued_at),
      expiresAtMs: Date.parse(body.expires_at),
    };
    const finding = reviewDated(announced, standing, offer);
    if (finding === undefined) return undefined;
    return finding === 'known'
      ? { status: 'known' }
      : refused(body.kind, finding, refusalReasons[finding]);
  }

  #added<Body extends RootBody | RegistryBody | PolicyBody>(
    history: DocumentHistory<Body>,
    document: SignedDocument<Body>,
    { nowMs, digest }: Offer,
  ): Adoption {
    history.add(this.#entry(document, nowMs, digest));
    const { kind, version } = document.body;
    return { status: 'adopted', kind, version, digest, document };
  }

  #entry<Body>(
    document: SignedDocument<Body>,
    adoptedAtMs: number,
    digest: string,
  ): AdoptedDocument<Body> {
    this.#adopted += 1;
    return { document, digest, adoptedAtMs, order: this.#adopted };
  }

  #digestOf({ body }: OfferedDocument): string | undefined {
    try {
      return documentDigest(this.#crypto, body);
    } catch (fault) {
      if (fault instanceof CryptoError && fault.code === 'NOT_ENCODABLE') return undefined;
      throw fault;
    }
  }
}

function factsOf(crypto: CryptoProvider, { root, registry, policy }: GenesisBundle): GenesisFacts {
  const digestOf = ({ body }: SignedDocument<unknown>): string => documentDigest(crypto, body);
  const digests = { root: digestOf(root), registry: digestOf(registry), policy: digestOf(policy) };
  return { roles: new RootRoles(crypto, root.body), digests };
}

function upheldBy({ upholds }: RootBody): string[] {
  if (upholds === undefined) return [];
  return [upholds.registry, upholds.policy, ...upholds.revocations];
}

/** What is said of a refusal beyond its name. */
const refusalReasons: Readonly<Record<DocumentRefusal, string>> = {
  TOO_LARGE: 'it has more bytes than a document may have',
  MALFORMED: 'it is not of its schema',
  KIND_NOT_OFFERED: 'documents of this kind are not offered',
  OTHER_MESH: 'it is of another mesh',
  ROLLBACK: 'its version is lower than the one in force',
  VERSION_TAKEN: 'another document with its version is in force',
  VERSION_SKIPPED: 'it is not the next version',
  FAST_FORWARD: `its version is more than ${versionJumpMax} ahead`,
  ISSUED_IN_FUTURE: 'it was issued in the future',
  DATES_INVALID: 'it expires before it is issued, or was issued before the one in force',
  EXPIRED: 'it has expired, or will before the clocks of all agents agree on it',
  THRESHOLD_NOT_MET: 'too few keys of its role have signed it',
  SIGNATURE_INVALID: 'a signature does not hold',
  SUCCESSOR_THRESHOLD_NOT_MET: 'too few of the keys that it names itself have signed it',
  ANCHOR_NOT_MET: 'too few anchors have signed it',
  ROLES_INVALID: 'a role has fewer keys than its threshold',
  ALGORITHM_UNKNOWN: 'policy and registry do not fit each other',
  POLICY_UNFIT: 'nobody could live under this policy with this registry',
  AGENT_UNKNOWN: 'it names an agent or a key that is not enrolled',
};

function refused(
  kind: OfferedKind | undefined,
  refusal: DocumentRefusal,
  reason: string,
): Adoption {
  return { status: 'refused', code: documentCode(kind, refusal), refusal, reason };
}

/** The kind that a document of any origin claims to be. */
function kindNameOf(document: unknown): string | undefined {
  const body: unknown = isRecord(document) ? document['body'] : undefined;
  const kind: unknown = isRecord(body) ? body['kind'] : undefined;
  return typeof kind === 'string' ? kind : undefined;
}

function kindOf(document: unknown): OfferedKind | undefined {
  const name = kindNameOf(document);
  return offeredKinds.find((kind) => kind === name);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Undefined for what is not UTF-8 or not JSON. */
function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (fault) {
    if (fault instanceof SyntaxError || fault instanceof TypeError) return undefined;
    throw fault;
  }
}

/**
 * From a bundle of documents and one pinned digest to a view of who may do what: the root names the
 * roles' keys, operators sign registry and policy, the enrolment role vouches for every agent.
 * Verification is synchronous and needs no clock unless one is given; whoever holds a `TrustView`
 * holds documents that were checked.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import { eventTypes, isEventType } from '#schemas/events.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import {
  channelNamePattern,
  trustBundleCheck,
  type AgentKind,
  type EnrolmentBody,
  type RoleName,
  type RootBody,
  type TrustBundle,
} from '#schemas/trust.ts';
import type { SignedDocument } from '#schemas/document.ts';
import type { VerifiedEvent } from '#shared/core/step-evidence.ts';
import { fromBase64Url } from './bytes.ts';
import { parseDisclosure, verifyDisclosure } from './envelope.ts';
import type { VerifyKey } from './key-handle.ts';
import type { CryptoProvider } from './provider.ts';
import { documentDigest, verifyDocument } from './signed-document.ts';

export interface Enrolled {
  readonly agentId: string;
  readonly kind: AgentKind;
  readonly layer?: number;
  readonly capabilities: readonly string[];
  /** Raw ML-DSA-87 public key, 2,592 bytes. */
  readonly identityKey: Uint8Array;
  readonly verifyKey: VerifyKey;
  /** SHA3-256 of the identity key, hexadecimal. */
  readonly keyId: string;
  /** Raw ML-KEM-1024 public key, 1,568 bytes. */
  readonly kemKey: Uint8Array;
  readonly nkey: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

export interface RoleKey {
  /** Hexadecimal SHA3-256 of the public key. */
  readonly keyId: string;
  readonly publicKey: Uint8Array;
}

export type TrustRefusal =
  | 'BUNDLE_MALFORMED'
  | 'ROOT_NOT_PINNED'
  | 'ROOT_INVALID'
  | 'REGISTRY_INVALID'
  | 'POLICY_INVALID'
  | 'ENROLMENT_INVALID'
  | 'TRUST_EXPIRED';

export type TrustOpening =
  | { readonly status: 'ok'; readonly trust: TrustView }
  | { readonly status: 'refused'; readonly code: TrustRefusal; readonly reason: string };

export type EvidenceOpening =
  | { readonly status: 'ok'; readonly event: VerifiedEvent }
  | { readonly status: 'refused'; readonly code: RefusalCode };

export interface TrustInput {
  readonly bundle: unknown;
  /** Pinned digest of the root's body, hexadecimal SHA3-256. */
  readonly rootDigest: string;
  /** Where given, expired documents are refused (agents); offline verification gives none. */
  readonly nowMs?: number;
}

/** Checks a bundle against the pinned root. */
export function openTrust(crypto: CryptoProvider, input: TrustInput): TrustOpening {
  const { bundle, rootDigest } = input;
  if (!trustBundleCheck.check(bundle)) {
    return refused('BUNDLE_MALFORMED', trustBundleCheck.errors(bundle).join('; '));
  }
  if (documentDigest(crypto, bundle.root.body) !== rootDigest) {
    return refused('ROOT_NOT_PINNED', 'the root document is not the pinned one');
  }
  const roles = new Map<RoleName, RoleKey[]>();
  for (const role of Object.keys(bundle.root.body.roles) as RoleName[]) {
    roles.set(role, keysOf(bundle.root.body, role));
  }
  const view = new TrustView(crypto, bundle, rootDigest, roles);
  const failure = view.checkDocuments(input.nowMs);
  return failure ?? { status: 'ok', trust: view };
}

export class TrustView {
  readonly mesh: string;
  readonly rootDigest: string;
  readonly bundle: TrustBundle;
  readonly registryDigest: string;
  readonly policyDigest: string;
  /** SHA3-256 over the digests of all enrolments in order of agent id, hexadecimal. */
  readonly enrolmentsDigest: string;
  readonly #crypto: CryptoProvider;
  readonly #roles: ReadonlyMap<RoleName, RoleKey[]>;
  readonly #agents = new Map<string, Enrolled>();

  constructor(
    crypto: CryptoProvider,
    bundle: TrustBundle,
    rootDigest: string,
    roles: ReadonlyMap<RoleName, RoleKey[]>,
  ) {
    this.#crypto = crypto;
    this.#roles = roles;
    this.bundle = bundle;
    this.rootDigest = rootDigest;
    this.mesh = bundle.root.body.mesh;
    this.registryDigest = documentDigest(crypto, bundle.registry.body);
    this.policyDigest = documentDigest(crypto, bundle.policy.body);
    const bodies = bundle.enrolments
      .map((document) => document.body)
      .toSorted((left, right) => (left.agent_id < right.agent_id ? -1 : 1));
    this.enrolmentsDigest = documentDigest(crypto, {
      kind: 'enrolments',
      digests: bodies.map((body) => documentDigest(crypto, body)),
    });
    for (const body of bodies) {
      const enrolled = enrolledFrom(crypto, body);
      if (enrolled !== undefined) this.#agents.set(enrolled.agentId, enrolled);
    }
  }

  get root(): RootBody {
    return this.bundle.root.body;
  }

  get registry(): RegistryBody {
    return this.bundle.registry.body;
  }

  get policy(): PolicyBody {
    return this.bundle.policy.body;
  }

  agent(agentId: string): Enrolled | undefined {
    return this.#agents.get(agentId);
  }

  agents(): Enrolled[] {
    return [...this.#agents.values()];
  }

  roleKeys(role: RoleName): readonly RoleKey[] {
    return this.#roles.get(role) ?? [];
  }

  /** Whether enough keys of `role` signed the document. */
  verifyStatement(
    document: SignedDocument<{ kind: string }>,
    role: RoleName,
  ): 'ok' | 'SIGNATURE_INVALID' {
    const threshold = this.root.roles[role].threshold;
    const keys = this.roleKeys(role);
    return verifyDocument(this.#crypto, document, { keys, threshold }) === 'ok'
      ? 'ok'
      : 'SIGNATURE_INVALID';
  }

  /** Checks an event that somebody else received: who said it, and that its body is what was said. */
  verifyEvidence(disclosure: Disclosure): EvidenceOpening {
    const parsed = parseDisclosure(disclosure);
    if (!parsed.ok) return { status: 'refused', code: parsed.code };
    const sender = this.agent(parsed.header.sender);
    if (sender === undefined) return { status: 'refused', code: 'SENDER_UNKNOWN' };
    const opened = verifyDisclosure(this.#crypto, disclosure, sender.verifyKey);
    if (!opened.ok) return { status: 'refused', code: opened.code };
    const { header, body } = opened;
    if (!isEventType(header.type)) return { status: 'refused', code: 'TYPE_UNKNOWN' };
    const type = eventTypes[header.type];
    if (!(type.senders as readonly AgentKind[]).includes(sender.kind)) {
      return { status: 'refused', code: 'SENDER_NOT_ENTITLED' };
    }
    const skewMs = this.policy.policies.rotation.clock_skew_ms;
    if (header.timeMs < sender.issuedAtMs - skewMs || header.timeMs > sender.expiresAtMs) {
      return { status: 'refused', code: 'SENDER_EXPIRED' };
    }
    if (!type.body.check(body)) return { status: 'refused', code: 'BODY_MALFORMED' };
    return {
      status: 'ok',
      event: {
        hash: opened.messageId,
        senderId: sender.agentId,
        senderKind: sender.kind,
        ...(sender.layer === undefined ? {} : { senderLayer: sender.layer }),
        senderCapabilities: sender.capabilities,
        type: header.type,
        body,
        timeMs: header.timeMs,
      } as VerifiedEvent,
    };
  }

  /** Every document of the bundle; used once, by `openTrust`. */
  checkDocuments(nowMs: number | undefined): TrustOpening | undefined {
    const { root, registry, policy, enrolments } = this.bundle;
    if (this.verifyStatement(root, 'root') !== 'ok') {
      return refused('ROOT_INVALID', 'the root is not signed by its threshold');
    }
    if (registry.body.mesh !== this.mesh || this.verifyStatement(registry, 'registry') !== 'ok') {
      return refused('REGISTRY_INVALID', 'the registry is not signed by the registry role');
    }
    if (policy.body.mesh !== this.mesh || this.verifyStatement(policy, 'policy') !== 'ok') {
      return refused('POLICY_INVALID', 'the policy is not signed by the policy role');
    }
    if (nowMs !== undefined) {
      for (const body of [root.body, registry.body, policy.body]) {
        if (nowMs > Date.parse(body.expires_at) || nowMs < Date.parse(body.issued_at) - 60_000) {
          return refused('TRUST_EXPIRED', `the ${body.kind} is not in force at this time`);
        }
      }
    }
    for (const enrolment of enrolments) {
      const { agent_id: agentId, mesh } = enrolment.body;
      const known = this.agent(agentId);
      if (mesh !== this.mesh || this.verifyStatement(enrolment, 'enrolment') !== 'ok') {
        return refused('ENROLMENT_INVALID', `the enrolment of ${agentId} is not signed`);
      }
      if (known === undefined) {
        return refused(
          'ENROLMENT_INVALID',
          `the enrolment of ${agentId} names no usable keys or a reserved id`,
        );
      }
    }
    if (new Set(enrolments.map(({ body }) => body.agent_id)).size !== enrolments.length) {
      return refused('ENROLMENT_INVALID', 'an agent is enrolled twice');
    }
    return undefined;
  }
}

function enrolledFrom(crypto: CryptoProvider, body: EnrolmentBody): Enrolled | undefined {
  const identityKey = fromBase64Url(body.identity_key.public_key);
  const kemKey = fromBase64Url(body.kem_key.public_key);
  if (identityKey?.length !== 2592 || kemKey?.length !== 1568) return undefined;
  if (channelNamePattern.test(body.agent_id)) return undefined;
  if ((body.agent_kind === 'layer') !== (body.layer !== undefined)) return undefined;
  const verifyKey = crypto.importVerifyKey(identityKey);
  return {
    agentId: body.agent_id,
    kind: body.agent_kind,
    ...(body.layer === undefined ? {} : { layer: body.layer }),
    capabilities: body.capabilities,
    identityKey,
    verifyKey,
    keyId: verifyKey.keyIdHex,
    kemKey,
    nkey: body.nkey,
    issuedAtMs: Date.parse(body.issued_at),
    expiresAtMs: Date.parse(body.expires_at),
  };
}

function keysOf(root: RootBody, role: RoleName): RoleKey[] {
  const keys: RoleKey[] = [];
  for (const keyId of root.roles[role].key_ids) {
    const publicKey = fromBase64Url(root.keys[keyId]?.public_key ?? '');
    if (publicKey?.length === 2592) keys.push({ keyId, publicKey });
  }
  return keys;
}

function refused(code: TrustRefusal, reason: string): TrustOpening {
  return { status: 'refused', code, reason };
}

/**
 * The documents that trust rests on: root, registry, policy and enrolments. They leave over HTTP and
 * are signed as RFC 8785 JSON, so they use the specification's field names; all else in gyre is camelCase.
 */

import { Type, type Static } from 'typebox';
import { Dated, Instant, signedDocument } from './document.ts';
import { LayerNumber } from './layers.ts';
import { PolicyDocument } from './policy.ts';
import {
  AgentId,
  Base64Url,
  compile,
  DigestHex,
  IntegerRange,
  KebabName,
  List,
  MapOf,
  OneOf,
  StrictObject,
  Text,
} from './primitives.ts';
import { RegistryDocument } from './registry.ts';

export const roleNames = [
  'root',
  'registry',
  'policy',
  'orchestration',
  'audit',
  'enrolment',
] as const;
export type RoleName = (typeof roleNames)[number];

export const SignatureAlgorithm = Type.Literal('ML-DSA-87');

/** As many as a root has room for beside its keys. */
export const upheldRevocationsMax = 1024;

const PublicKey = StrictObject({
  algorithm: SignatureAlgorithm,
  /** 2,592 bytes (FIPS 204) in base64url. */
  public_key: Base64Url(3456),
});

const Role = StrictObject({
  key_ids: List(DigestHex(), { itemsMin: 1, itemsMax: 16 }),
  threshold: IntegerRange({ min: 1, max: 16 }),
});

/** 64 bytes (FIPS 205) in base64url. */
const AnchorKey = StrictObject({
  algorithm: Type.Literal('SLH-DSA-SHAKE-256s'),
  public_key: Base64Url(86),
});

export const RootBody = StrictObject({
  kind: Type.Literal('root'),
  mesh: KebabName(),
  ...Dated,
  keys: MapOf(PublicKey, { keyPattern: '^[0-9a-f]{64}$', entriesMax: 64 }),
  /**
   * The root's second signature, by hash-based keys: a root stands only where both the threshold of its
   * role and this one are met, so that a break of lattices alone makes no root.
   */
  anchor: StrictObject({
    keys: MapOf(AnchorKey, { keyPattern: '^[0-9a-f]{64}$', entriesMax: 16 }),
    threshold: IntegerRange({ min: 1, max: 16 }),
  }),
  roles: StrictObject({
    root: Role,
    registry: Role,
    policy: Role,
    orchestration: Role,
    audit: Role,
    enrolment: Role,
  }),
  /**
   * What stood when this root was signed, by digest. Whoever learns of it after this root takes it by
   * the root's word, whatever keys signed it: the keys of its role may be gone by then.
   */
  upholds: Type.Optional(
    StrictObject({
      registry: DigestHex(),
      policy: DigestHex(),
      revocations: List(DigestHex(), { itemsMax: upheldRevocationsMax }),
    }),
  ),
});
export type RootBody = Static<typeof RootBody>;
export const RootDocument = signedDocument(RootBody);
export type RootDocument = Static<typeof RootDocument>;

/**
 * Names of channels, which no agent may bear: an event's audience is an agent or a channel, and the
 * two must never be taken for one another.
 */
export const channelNamePattern = /^(?:saga|mesh|operators|telemetry|notices|archive|layer-[1-7])$/;

export const agentKinds = ['operator', 'orchestrator', 'signer', 'auditor', 'layer'] as const;
export const AgentKind = OneOf(agentKinds);
export type AgentKind = Static<typeof AgentKind>;

export const EnrolmentBody = StrictObject({
  kind: Type.Literal('enrolment'),
  mesh: KebabName(),
  agent_id: AgentId(),
  agent_kind: AgentKind,
  /** For layer agents only. */
  layer: Type.Optional(LayerNumber),
  capabilities: List(KebabName(), { itemsMax: 16 }),
  identity_key: PublicKey,
  /**
   * Enrolled with its holder and used by no exchange of this protocol version: secrets of epochs are
   * encapsulated to one-time keys only, because a lasting key would undo their forward secrecy.
   */
  kem_key: StrictObject({
    algorithm: Type.Literal('ML-KEM-1024'),
    /** 1,568 bytes (FIPS 203) in base64url. */
    public_key: Base64Url(2091),
  }),
  /** Public NATS NKEY of the agent's connection. */
  nkey: Type.String({ pattern: '^U[A-Z2-7]{55}$' }),
  issued_at: Instant(),
  expires_at: Instant(),
});
export type EnrolmentBody = Static<typeof EnrolmentBody>;
export const EnrolmentDocument = signedDocument(EnrolmentBody);
export type EnrolmentDocument = Static<typeof EnrolmentDocument>;

/** Ends an enrolment before its time. Signed by the policy role's operators; never taken back. */
export const RevocationBody = StrictObject({
  kind: Type.Literal('revocation'),
  mesh: KebabName(),
  agent_id: AgentId(),
  /** Id of the identity key that is revoked: a later enrolment of the same agent has another one. */
  key_id: DigestHex(),
  reason: Text(200),
  issued_at: Instant(),
});
export type RevocationBody = Static<typeof RevocationBody>;
export const RevocationDocument = signedDocument(RevocationBody);
export type RevocationDocument = Static<typeof RevocationDocument>;

/** What can be offered to a running mesh; each is verified by everyone who is offered it. */
export const OfferedDocument = Type.Union([
  RootDocument,
  RegistryDocument,
  PolicyDocument,
  RevocationDocument,
]);
export type OfferedDocument = Static<typeof OfferedDocument>;

/** All that a verifier needs beside the pinned digest of the root. */
export const TrustBundle = StrictObject({
  root: RootDocument,
  registry: RegistryDocument,
  policy: PolicyDocument,
  enrolments: List(EnrolmentDocument, { itemsMax: 20_000 }),
});
export type TrustBundle = Static<typeof TrustBundle>;

export const rootCheck = compile(RootDocument);
export const trustBundleCheck = compile(TrustBundle);
export const offeredDocumentCheck = compile(OfferedDocument);

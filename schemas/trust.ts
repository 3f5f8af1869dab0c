/**
 * The documents that trust rests on: root, registry, policy and enrolments. They leave over HTTP and
 * are signed as RFC 8785 JSON, so they use the specification's field names; all else in gyre is camelCase.
 */

import { Type, type Static } from 'typebox';
import { Instant, signedDocument } from './document.ts';
import { LayerNumber } from './layers.ts';
import {
  AgentId,
  AlgorithmName,
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

const PublicKey = StrictObject({
  algorithm: SignatureAlgorithm,
  /** 2,592 bytes (FIPS 204) in base64url. */
  public_key: Base64Url(3456),
});

const Role = StrictObject({
  key_ids: List(DigestHex(), { itemsMin: 1, itemsMax: 16 }),
  threshold: IntegerRange({ min: 1, max: 16 }),
});

const Dated = {
  version: IntegerRange({ min: 1, max: 1_000_000_000 }),
  issued_at: Instant(),
  expires_at: Instant(),
};

export const RootBody = StrictObject({
  kind: Type.Literal('root'),
  mesh: KebabName(),
  ...Dated,
  keys: MapOf(PublicKey, { keyPattern: '^[0-9a-f]{64}$', entriesMax: 64 }),
  roles: StrictObject({
    root: Role,
    registry: Role,
    policy: Role,
    orchestration: Role,
    audit: Role,
    enrolment: Role,
  }),
});
export type RootBody = Static<typeof RootBody>;
export const RootDocument = signedDocument(RootBody);
export type RootDocument = Static<typeof RootDocument>;

const Milliseconds = Type.Number({ minimum: 0, maximum: 60_000 });

const AlgorithmEntry = StrictObject({
  name: AlgorithmName(),
  standard: AlgorithmName(),
  status: OneOf(['active', 'supported', 'deprecated']),
  /** NIST category, 1 to 5; 0 where no category is defined. */
  security_level: IntegerRange({ min: 0, max: 5 }),
  layers: List(IntegerRange({ min: 1, max: 8 }), { itemsMax: 8 }),
  fallback_for: Type.Optional(AlgorithmName()),
  use_case: Type.Optional(AlgorithmName()),
  components: Type.Optional(List(AlgorithmName(), { itemsMax: 4 })),
  combiner: Type.Optional(AlgorithmName()),
  /** Bytes, as the standard says. */
  key_sizes: Type.Optional(
    MapOf(IntegerRange({ min: 1, max: 100_000 }), { keyPattern: '^[a-z_]{1,32}$', entriesMax: 8 }),
  ),
  /** Measured on the machine that enrolled the algorithm. */
  performance: Type.Optional(
    Type.Record(Type.String({ pattern: '^[a-z_]{1,32}$' }), Milliseconds, { maxProperties: 8 }),
  ),
});
export type AlgorithmEntry = Static<typeof AlgorithmEntry>;

const Algorithms = List(AlgorithmEntry, { itemsMax: 32 });

export const RegistryBody = StrictObject({
  kind: Type.Literal('registry'),
  mesh: KebabName(),
  ...Dated,
  algorithms: StrictObject({
    kem: Algorithms,
    signature: Algorithms,
    hybrid: Algorithms,
    symmetric: Algorithms,
    hash: Algorithms,
    mac: Algorithms,
  }),
});
export type RegistryBody = Static<typeof RegistryBody>;
export const RegistryDocument = signedDocument(RegistryBody);
export type RegistryDocument = Static<typeof RegistryDocument>;

const AlgorithmNames = List(AlgorithmName(), { itemsMax: 32 });
const Days = IntegerRange({ min: 0, max: 3650 });
const PolicyMs = IntegerRange({ min: 0, max: 90 * 24 * 3_600_000 });
const Approvers = IntegerRange({ min: 0, max: 16 });

/** How rotations run: gyre's own part of the policy. */
export const RotationRules = StrictObject({
  /** Approvers needed beside the requester, who never counts. */
  approvals: StrictObject({
    scheduled: Approvers,
    emergency: Approvers,
    policy_change: Approvers,
    recovery: IntegerRange({ min: 1, max: 16 }),
  }),
  plan_valid_ms: PolicyMs,
  step_timeout_ms: IntegerRange({ min: 50, max: 600_000 }),
  step_attempts_max: IntegerRange({ min: 1, max: 20 }),
  rollback_attempts_max: IntegerRange({ min: 1, max: 100 }),
  soak_ms: PolicyMs,
  soak_samples_min: IntegerRange({ min: 0, max: 1_000_000 }),
  /** How long the old key stays valid for verification and decryption after the commit. */
  overlap_ms: PolicyMs,
  rollback_triggers: List(Text(128), { itemsMax: 16 }),
  /** What happens to a plan when a member that only verifies does not answer. */
  silent_member: OneOf(['fail', 'fence']),
  clock_skew_ms: IntegerRange({ min: 0, max: 600_000 }),
});
export type RotationRules = Static<typeof RotationRules>;

export const PolicyBody = StrictObject({
  kind: Type.Literal('policy'),
  mesh: KebabName(),
  policy_name: KebabName(),
  ...Dated,
  policies: StrictObject({
    minimum_security_level: IntegerRange({ min: 1, max: 5 }),
    quantum_security_required: Type.Boolean(),
    allowed_algorithms: StrictObject({
      kem: AlgorithmNames,
      signature: AlgorithmNames,
      hybrid: AlgorithmNames,
      hash: AlgorithmNames,
      symmetric: AlgorithmNames,
      mac: AlgorithmNames,
    }),
    /** Uses that the lists above do not cover, each by name and purpose. */
    exceptions: Type.Array(
      StrictObject({
        algorithm: AlgorithmName(),
        purpose: Text(200),
        layers: List(IntegerRange({ min: 1, max: 8 }), { itemsMax: 8 }),
      }),
      { maxItems: 16 },
    ),
    prohibited_algorithms: AlgorithmNames,
    hybrid_mode: StrictObject({
      enabled: Type.Boolean(),
      classical_component_required: Type.Boolean(),
      combiner: AlgorithmName(),
    }),
    key_lifecycle: StrictObject({
      max_key_age_days: StrictObject({
        identity_keys: Days,
        session_keys: Days,
        kek: Days,
        dek: Days,
        signature_keys: Days,
        hmac_keys: Days,
      }),
      rotation_schedule: Text(64),
      emergency_rotation_sla_minutes: IntegerRange({ min: 1, max: 1440 }),
    }),
    layer_specific: StrictObject({
      layer_1: StrictObject({
        mfa_required: Type.Boolean(),
        ml_dsa_signature_required: Type.Boolean(),
      }),
      layer_3: StrictObject({
        min_tls_version: AlgorithmName(),
        hybrid_key_exchange_required: Type.Boolean(),
      }),
      layer_4: StrictObject({
        min_aes_key_size: IntegerRange({ min: 128, max: 256 }),
        authenticated_encryption_required: Type.Boolean(),
      }),
    }),
    rotation: RotationRules,
  }),
});
export type PolicyBody = Static<typeof PolicyBody>;
export const PolicyDocument = signedDocument(PolicyBody);
export type PolicyDocument = Static<typeof PolicyDocument>;

/**
 * Names of channels, which no agent may bear: an event's audience is an agent or a channel, and the
 * two must never be taken for one another.
 */
export const channelNamePattern = /^(?:saga|mesh|operators|telemetry|layer-[1-7])$/;

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

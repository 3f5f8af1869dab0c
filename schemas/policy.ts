/**
 * The policy: which algorithms may be used where, how old keys may grow, how rotations run and how the
 * mesh's own channels are keyed. Signed by operators, versions strictly rising. Every field is enforced
 * somewhere; `test/unit/core/policy-fields.test.ts` is the table that says where.
 */

import { Type, type Static } from 'typebox';
import { Dated, signedDocument } from './document.ts';
import { TlsVersion } from './negotiation.ts';
import {
  AlgorithmName,
  IntegerRange,
  KebabName,
  List,
  OneOf,
  StrictObject,
  Text,
} from './primitives.ts';

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

/** Epochs of the mesh's own channels, and what is kept of them. */
export const ChannelRules = StrictObject({
  /** Rekey after so long, or so many events of one channel, whichever comes first. */
  epoch_max_ms: IntegerRange({ min: 1_000, max: 24 * 3_600_000 }),
  epoch_messages_max: IntegerRange({ min: 1, max: 2 ** 20 }),
  /** How long a superseded epoch may still be opened; secrets are wiped afterwards. */
  epoch_grace_ms: IntegerRange({ min: 1_000, max: 24 * 3_600_000 }),
  /** How long members may take to accept an epoch before it goes on without them. */
  epoch_accept_ms: IntegerRange({ min: 100, max: 600_000 }),
  /** Whether the auditor keeps what control events said, under the archive key of the token. */
  archive_control_events: Type.Boolean(),
  /** How long events under a superseded registry or policy are still taken. */
  amendment_grace_ms: IntegerRange({ min: 1_000, max: 24 * 3_600_000 }),
});
export type ChannelRules = Static<typeof ChannelRules>;

export const PolicyBody = StrictObject({
  kind: Type.Literal('policy'),
  mesh: KebabName(),
  policy_name: KebabName(),
  ...Dated,
  /**
   * What the amendment means for sagas that are under way: they end under the policy that they began
   * with, or are judged by this one from now on (a compromised algorithm).
   */
  applies: OneOf(['to-new-sagas', 'at-once']),
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
      /** Cron expression of five fields, in UTC: when rotations of type `scheduled` may run. */
      rotation_schedule: Text(64),
      emergency_rotation_sla_minutes: IntegerRange({ min: 1, max: 1440 }),
    }),
    layer_specific: StrictObject({
      layer_1: StrictObject({
        mfa_required: Type.Boolean(),
        ml_dsa_signature_required: Type.Boolean(),
      }),
      layer_3: StrictObject({
        min_tls_version: TlsVersion,
        hybrid_key_exchange_required: Type.Boolean(),
      }),
      layer_4: StrictObject({
        min_aes_key_size: IntegerRange({ min: 128, max: 256 }),
        authenticated_encryption_required: Type.Boolean(),
      }),
    }),
    rotation: RotationRules,
    channels: ChannelRules,
  }),
});
export type PolicyBody = Static<typeof PolicyBody>;
export const PolicyDocument = signedDocument(PolicyBody);
export type PolicyDocument = Static<typeof PolicyDocument>;

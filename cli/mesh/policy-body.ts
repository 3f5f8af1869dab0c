/**
 * The first policy of a mesh. It keeps the intent of the specification's example (category 5, no
 * classical algorithm on its own) and names every use that its lists do not cover, each with its
 * purpose and its layers: the mesh would otherwise forbid its own protocol.
 */
import type { PolicyBody, RotationRules } from '#schemas/policy.ts';
import type { Validity } from './registry-body.ts';

export interface RotationTimes {
  /** How long triggers are watched before the commit. */
  readonly soakMs: number;
  /** How long old keys stay valid for verification and decryption after the commit. */
  readonly overlapMs: number;
  /** How long an attempt of a step may take; 3 seconds unless told. */
  readonly stepTimeoutMs?: number;
}

/** What whoever makes a mesh may choose of its first policy. */
export interface PolicyChoices extends RotationTimes {
  /**
   * Approvers of an emergency beside who asks for it; one unless told. With none, what layer 7 asks for
   * begins at once.
   */
  readonly emergencyApprovals?: number;
}

/** Of a development mesh: nothing to watch, and old keys go soon. */
export const developmentTimes: RotationTimes = { soakMs: 0, overlapMs: 10_000 };

/** Longest soak or overlap: 90 days. */
export const rotationTimeMsMax = 90 * 24 * 3_600_000;

const dayMs = 24 * 3_600_000;

export function policyBody(
  mesh: string,
  { issuedAt, expiresAt }: Validity,
  choices: PolicyChoices,
): PolicyBody {
  return {
    kind: 'policy',
    mesh,
    policy_name: 'development-pqc-policy',
    version: 1,
    issued_at: issuedAt,
    expires_at: expiresAt,
    applies: 'to-new-sagas',
    policies: {
      minimum_security_level: 5,
      quantum_security_required: true,
      allowed_algorithms: {
        kem: ['ML-KEM-1024'],
        signature: ['ML-DSA-87'],
        hybrid: ['X25519MLKEM1024'],
        hash: ['SHA3-256', 'SHA3-384', 'SHA3-512'],
        symmetric: ['AES-256-GCM', 'ChaCha20-Poly1305'],
        mac: ['HMAC-SHA3-384'],
      },
      exceptions: exceptions(),
      prohibited_algorithms: ['RSA-2048', 'ECDSA-P256', 'SHA-1', 'MD5', 'DES', '3DES'],
      hybrid_mode: { enabled: true, classical_component_required: true, combiner: 'SHA3-384' },
      key_lifecycle: {
        max_key_age_days: {
          identity_keys: 90,
          session_keys: 1,
          kek: 30,
          dek: 0,
          signature_keys: 180,
          hmac_keys: 30,
        },
        // Every minute, because a development mesh turns its keys whenever it is asked to. A mesh that
        // others rely on names its maintenance hours: '0 2 * * 0' is Sundays at two (UTC).
        rotation_schedule: '* * * * *',
        emergency_rotation_sla_minutes: 15,
      },
      layer_specific: {
        layer_1: { mfa_required: true, ml_dsa_signature_required: true },
        layer_3: { min_tls_version: '1.3', hybrid_key_exchange_required: true },
        layer_4: { min_aes_key_size: 256, authenticated_encryption_required: true },
      },
      rotation: rotationRules(choices),
      channels: {
        epoch_max_ms: 3_600_000,
        epoch_messages_max: 2 ** 20,
        epoch_grace_ms: 600_000,
        epoch_accept_ms: 5_000,
        archive_control_events: true,
        amendment_grace_ms: 600_000,
      },
    },
  };
}

function rotationRules(choices: PolicyChoices): RotationRules {
  const { soakMs, overlapMs, stepTimeoutMs = 3000, emergencyApprovals = 1 } = choices;
  return {
    approvals: { scheduled: 1, emergency: emergencyApprovals, policy_change: 1, recovery: 1 },
    plan_valid_ms: dayMs,
    step_timeout_ms: stepTimeoutMs,
    step_attempts_max: 3,
    rollback_attempts_max: 5,
    soak_ms: soakMs,
    soak_samples_min: 0,
    overlap_ms: overlapMs,
    rollback_triggers: [
      'rotation_failure_count > 3',
      'service_availability < 99%',
      'error_rate > 1%',
    ],
    silent_member: 'fail',
    clock_skew_ms: 30_000,
  };
}

function exceptions(): PolicyBody['policies']['exceptions'] {
  return [
    {
      algorithm: 'BLAKE3',
      purpose: 'digest of an event and name of its signed statement',
      layers: [8],
    },
    {
      algorithm: 'SHA-256',
      purpose: 'inside HKDF-SHA256 for channel keys, and the RFC 9162 tree of the audit',
      layers: [8],
    },
    {
      algorithm: 'X25519',
      purpose: 'the classical component of X25519MLKEM1024, never on its own',
      layers: [3],
    },
    {
      algorithm: 'HMAC-SHA-512',
      purpose: 'one-time passwords of users (RFC 6238), which know no SHA-3; a second factor only',
      layers: [1],
    },
    {
      algorithm: 'SLH-DSA-SHAKE-256s',
      purpose: 'long-lived signatures of root documents',
      layers: [8],
    },
    {
      algorithm: 'Ed25519',
      purpose: 'NKEY of a connection to the bus, a fence beside the sealed events',
      layers: [8],
    },
  ];
}

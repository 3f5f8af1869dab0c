/** The parts of the stage: names, a plan, the tables of agents' databases. */

import { createHash } from 'node:crypto';
import type { RotationPlanBody } from '#schemas/plan.ts';
import { canonicalJson } from '#shared/crypto/canonical-json.ts';

export const slot = '1/identity-signature';
export const owner = 'identity-a';
export const verifier = 'authorization-a';
export const startMs = 1_800_000_000_000;

export function digest(bytes: Uint8Array): string {
  return createHash('sha3-256').update(bytes).digest('hex');
}

export function hashOf(name: string): string {
  return digest(Buffer.from(name));
}

/** A public half and the id that is its digest. */
export function keyOf(version: number): { readonly publicKey: Uint8Array; readonly keyId: string } {
  const publicKey = new Uint8Array(Buffer.from(`public half ${version} of ${slot}`));
  return { publicKey, keyId: digest(publicKey) };
}

export function digestOfBody(body: unknown): string {
  return digest(canonicalJson(body));
}

export interface PlanChoices {
  readonly policyDigest: string;
  readonly sagaId?: string;
  readonly approvals?: number;
  readonly silentMember?: 'fail' | 'fence';
  readonly version?: number;
}

export function planBody({
  policyDigest,
  sagaId = 'plan-1',
  approvals = 1,
  silentMember = 'fail',
  version = 1,
}: PlanChoices): RotationPlanBody {
  const at = new Date(startMs).toISOString();
  const end = new Date(startMs + 3_600_000).toISOString();
  const { keyId } = keyOf(version);
  return {
    kind: 'rotation_plan',
    mesh: 'test',
    rotation_plan_id: sagaId,
    rotation_type: 'scheduled',
    requested_by: 'op-1',
    request: hashOf(`request ${sagaId}`),
    reason: 'test',
    created_at: at,
    expires_at: end,
    affected_layers: [1],
    affected_keys: [
      {
        slot,
        layer: 1,
        key_type: 'identity-signature',
        key_kind: 'signature',
        algorithm: 'ML-DSA-87',
        key_id: keyId,
        version,
        members: [
          { agent_id: owner, layer: 1, role: 'owner' },
          { agent_id: verifier, layer: 2, role: 'verifier' },
        ],
        rotation_window: { start: at, end },
      },
    ],
    dependencies: [],
    coordination_sequence: [1],
    rollback_triggers: [],
    rollback_plan: {
      sequence: [1],
      checkpoints: [{ slot, key_id: keyId, version }],
      attempts_max: 3,
    },
    timing: {
      step_timeout_ms: 1_000,
      step_attempts_max: 3,
      soak_ms: 0,
      soak_samples_min: 0,
      overlap_ms: 10_000,
    },
    approvals_required: approvals,
    silent_member: silentMember,
    basis: {
      registry_digest: hashOf('registry'),
      policy_digest: policyDigest,
      enrolments_digest: hashOf('enrolments'),
      adapters: [{ agent_id: owner, fingerprint: hashOf('adapter') }],
    },
    estimated_duration_ms: 1_000,
  };
}

/** As `key-store.ts`, `step-store.ts` and `epoch-record.ts` make them, without their guards. */
export const schemas: Readonly<Record<string, string>> = {
  'keystore.db': `
    CREATE TABLE slots (slot TEXT PRIMARY KEY, frozen INTEGER NOT NULL DEFAULT 0) STRICT;
    CREATE TABLE versions (
      slot TEXT NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL, key_id TEXT NOT NULL,
      PRIMARY KEY (slot, version)
    ) STRICT;`,
  'store.db': `
    CREATE TABLE sagas (
      saga_id TEXT PRIMARY KEY, plan_digest TEXT NOT NULL, last_index INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE steps (step_key TEXT PRIMARY KEY, task BLOB NOT NULL, report BLOB) STRICT;
    CREATE TABLE reservations (slot TEXT PRIMARY KEY, saga_id TEXT NOT NULL) STRICT;
    CREATE TABLE candidates (
      slot TEXT NOT NULL, saga_id TEXT NOT NULL, version INTEGER NOT NULL, key_id TEXT,
      PRIMARY KEY (slot, saga_id)
    ) STRICT;
    CREATE TABLE peer_keys (
      slot TEXT NOT NULL, key_id TEXT NOT NULL, version INTEGER NOT NULL, public_key BLOB NOT NULL,
      state TEXT NOT NULL, PRIMARY KEY (slot, key_id)
    ) STRICT;`,
  'signer.db': `
    CREATE TABLE epoch_mark (channel TEXT PRIMARY KEY, highest INTEGER NOT NULL) STRICT;
    CREATE TABLE epoch_closed (
      channel TEXT NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (channel, epoch)
    ) STRICT;`,
};

import { expect, test } from 'vitest';
import { selectAlgorithms } from '#shared/core/negotiation-selection.ts';
import {
  offer,
  policy,
  policyWith,
  registry,
  registryWith,
  selection,
  slhAllowed,
  type SelectionChange,
} from './negotiation-stage.ts';

function selectedOf(change: SelectionChange = {}) {
  const result = selectAlgorithms(selection(change));
  if (result.status !== 'selected') throw new Error(`${result.code}: ${result.reason}`);
  return result.selected;
}

function refusalOf(change: SelectionChange) {
  const result = selectAlgorithms(selection(change));
  return result.status === 'refused' ? result.code : 'selected';
}

const slh = { signature: [offer('SLH-DSA-SHAKE-256s')] };

test('the strongest of what both take and the policy allows, then the name', () => {
  expect(selectedOf()).toEqual({
    kem: 'ML-KEM-1024',
    signature: 'ML-DSA-87',
    symmetric: 'AES-256-GCM',
    hash: 'SHA3-512',
  });
});

test('among equals, what both prefer comes before what one prefers', () => {
  const hybrid = offer('X25519MLKEM1024', { status: 'preferred' });
  const plain = offer('ML-KEM-1024');
  const client = { kem: [plain, hybrid] };
  expect(selectedOf({ client }).kem).toBe('X25519MLKEM1024');
  const server = { kem: [{ ...plain, status: 'preferred' } as const, offer('X25519MLKEM1024')] };
  expect(selectedOf({ client, server }).kem).toBe('ML-KEM-1024');
  expect(selectedOf({ client, server: client }).kem).toBe('X25519MLKEM1024');
});

test('then the faster tier, then hardware', () => {
  const slow = {
    symmetric: [offer('AES-256-GCM', { performanceTier: 'low' }), offer('ChaCha20-Poly1305')],
  };
  expect(selectedOf({ client: slow }).symmetric).toBe('ChaCha20-Poly1305');
  const hardware = {
    symmetric: [offer('AES-256-GCM'), offer('ChaCha20-Poly1305', { hardwareAccelerated: true })],
  };
  expect(selectedOf({ client: hardware }).symmetric).toBe('ChaCha20-Poly1305');
});

test('strength comes before preference', () => {
  const weak = { hash: [offer('SHA3-384', { status: 'preferred' }), offer('SHA3-512')] };
  expect(selectedOf({ client: weak, server: weak }).hash).toBe('SHA3-512');
});

test('nothing in common is ORCH-8001', () => {
  expect(refusalOf({ client: { kem: [offer('ML-KEM-1024')] }, server: { kem: [] } })).toBe(
    'ORCH-8001',
  );
});

test('only what the policy forbids is ORCH-8002', () => {
  expect(refusalOf({ client: slh, server: slh })).toBe('ORCH-8002');
  expect(
    refusalOf({ client: { kem: [offer('ML-KEM-768')] }, server: { kem: [offer('ML-KEM-768')] } }),
  ).toBe('ORCH-8002');
});

test('only what the registry does not know is ORCH-8003, and what else there is counts', () => {
  const unknown = [offer('HQC-256')];
  expect(refusalOf({ client: { kem: unknown }, server: { kem: unknown } })).toBe('ORCH-8003');
  expect(refusalOf({ client: { kem: unknown } })).toBe('ORCH-8003');
  const more = { kem: [...unknown, offer('ML-KEM-1024')] };
  expect(selectedOf({ client: more, server: more }).kem).toBe('ML-KEM-1024');
});

test('a requirement for what the registry does not know is not dropped with the offer', () => {
  const kem = [offer('HQC-256', { status: 'required' }), offer('ML-KEM-1024')];
  expect(
    refusalOf({ client: { kem }, server: { kem: [offer('HQC-256'), offer('ML-KEM-1024')] } }),
  ).toBe('ORCH-8003');
});

test('who requires an algorithm takes no other', () => {
  const required = {
    kem: [offer('X25519MLKEM1024', { status: 'required' }), offer('ML-KEM-1024')],
  };
  expect(selectedOf({ client: required }).kem).toBe('X25519MLKEM1024');
  expect(refusalOf({ client: required, server: { kem: [offer('ML-KEM-1024')] } })).toBe(
    'ORCH-8001',
  );
});

test('two different requirements, or one algorithm offered twice, are ORCH-8012', () => {
  const one = { kem: [offer('X25519MLKEM1024', { status: 'required' })] };
  const other = { kem: [offer('ML-KEM-1024', { status: 'required' })] };
  expect(refusalOf({ client: one, server: other })).toBe('ORCH-8012');
  const twice = { kem: [offer('ML-KEM-1024'), offer('ML-KEM-1024', { status: 'preferred' })] };
  expect(refusalOf({ client: twice })).toBe('ORCH-8012');
});

test('SLH-DSA-SHAKE-256s, 29,792 bytes, is never selected under 5,000', () => {
  const both = { client: slh, server: slh, policy: slhAllowed };
  expect(selectedOf(both).signature).toBe('SLH-DSA-SHAKE-256s');
  expect(refusalOf({ ...both, constraints: { maxSignatureBytes: 5_000 } })).toBe('ORCH-8001');
  expect(refusalOf({ ...both, clientConstraints: { maxSignatureBytes: 29_791 } })).toBe(
    'ORCH-8001',
  );
  expect(selectedOf({ ...both, constraints: { maxSignatureBytes: 29_792 } }).signature).toBe(
    'SLH-DSA-SHAKE-256s',
  );
});

test('the tightest constraint holds, whoever states it', () => {
  const loose = { constraints: { maxSignatureBytes: 100_000 } };
  expect(refusalOf({ ...loose, clientConstraints: { maxSignatureBytes: 1_000 } })).toBe(
    'ORCH-8001',
  );
});

test('public keys of KEM and signature are limited', () => {
  expect(refusalOf({ constraints: { maxPublicKeyBytes: 2_591 } })).toBe('ORCH-8001');
  const kem = [offer('ML-KEM-1024'), offer('X25519MLKEM1024', { status: 'preferred' })];
  const change = { client: { kem }, server: { kem, ...slh }, policy: slhAllowed };
  expect(selectedOf({ ...change, constraints: { maxPublicKeyBytes: 1_599 } })).toMatchObject({
    kem: 'ML-KEM-1024',
    signature: 'SLH-DSA-SHAKE-256s',
  });
});

test('a handshake is limited by what was measured, and what was not is no candidate', () => {
  expect(selectedOf({ constraints: { maxHandshakeMs: 5 } }).kem).toBe('ML-KEM-1024');
  expect(refusalOf({ constraints: { maxHandshakeMs: 4 } })).toBe('ORCH-8001');
  const unmeasured = { kem: [offer('X25519MLKEM1024')] };
  expect(refusalOf({ client: unmeasured, constraints: { maxHandshakeMs: 600_000 } })).toBe(
    'ORCH-8001',
  );
});

test('KEM and signature share the time of a handshake', () => {
  const fast = { encaps_ms: 1, decaps_ms: 1 };
  const slow = { encaps_ms: 4, decaps_ms: 4 };
  const kems = registry.algorithms.kem.map((entry) => ({
    ...entry,
    performance: entry.name === 'ML-KEM-1024' ? slow : fast,
  }));
  const kem = [offer('ML-KEM-1024'), offer('ML-KEM-768')];
  const change = {
    client: { kem },
    server: { kem },
    registry: registryWith('kem', kems),
    policy: policyWith({
      minimum_security_level: 3,
      allowed_algorithms: {
        ...policy.policies.allowed_algorithms,
        kem: ['ML-KEM-1024', 'ML-KEM-768'],
      },
    }),
  };
  expect(selectedOf({ ...change, constraints: { maxHandshakeMs: 11 } }).kem).toBe('ML-KEM-1024');
  expect(selectedOf({ ...change, constraints: { maxHandshakeMs: 10 } }).kem).toBe('ML-KEM-768');
});

test('layer 3 exchanges keys in hybrid mode, and not with an old TLS', () => {
  const layers = { client: 3, server: 4 } as const;
  expect(selectedOf({ layers }).kem).toBe('X25519MLKEM1024');
  expect(refusalOf({ layers, client: { kem: [offer('ML-KEM-1024')] } })).toBe('ORCH-8002');
  const input = selection({ layers });
  const old = { ...input, client: { ...input.client, tlsVersionMin: '1.2' as const } };
  expect(selectAlgorithms(old)).toMatchObject({ status: 'refused', code: 'ORCH-8002' });
  const elsewhere = { ...old, layers: { client: 4, server: 5 } as const };
  expect(selectAlgorithms(elsewhere).status).toBe('selected');
});

test('a hybrid is not selected where the policy has no hybrids', () => {
  const mode = { ...policy.policies.hybrid_mode, enabled: false };
  const kem = [offer('X25519MLKEM1024', { status: 'preferred' }), offer('ML-KEM-1024')];
  const change = { client: { kem }, server: { kem }, policy: policyWith({ hybrid_mode: mode }) };
  expect(selectedOf(change).kem).toBe('ML-KEM-1024');
});

test('what is allowed on one layer alone is not selected for two', () => {
  const exceptions = [{ algorithm: 'SLH-DSA-SHAKE-256s', purpose: 'anchors', layers: [5] }];
  const change = { client: slh, server: slh, policy: policyWith({ exceptions }) };
  expect(refusalOf({ ...change, layers: { client: 4, server: 5 } })).toBe('ORCH-8002');
  expect(refusalOf({ ...change, layers: { client: 5, server: 5 } })).toBe('selected');
});

/** What holds of every selection, whatever two agents offer and whatever the policy says. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  negotiatedKinds,
  type AlgorithmCapabilities,
  type AlgorithmOffer,
  type NegotiatedKind,
} from '#schemas/negotiation.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { AlgorithmEntry } from '#schemas/registry.ts';
import type { SelectionInput } from '#shared/core/negotiation-candidates.ts';
import { selectAlgorithms, type Selection } from '#shared/core/negotiation-selection.ts';
import { algorithmAllowed } from '#shared/core/policy.ts';
import { policy, registry } from './negotiation-stage.ts';

const runs = { numRuns: 2_000 };
const names = {
  kem: ['K1', 'K3', 'K5', 'K5b', 'H5', 'unknown'],
  signature: ['S1', 'S3', 'S5', 'S5b', 'unknown'],
  symmetric: ['C3', 'C5', 'C5b', 'unknown'],
  hash: ['D2', 'D4', 'D5', 'unknown'],
} as const;

function entry(name: string, measured: boolean): AlgorithmEntry {
  const level = Number(/\d/.exec(name)?.[0] ?? 0);
  return {
    name,
    standard: 'test',
    status: 'active',
    security_level: level,
    layers: [],
    ...(name.startsWith('H') ? { components: ['X25519', 'K5'], combiner: 'SHA3-384' } : {}),
    key_sizes: { public_key: level * 400, signature: level * 1_000, tag: 16 },
    ...(measured
      ? { performance: { encaps_ms: level, decaps_ms: level, sign_ms: level, verify_ms: 1 } }
      : {}),
  };
}

const made = {
  ...registry,
  algorithms: {
    kem: ['K1', 'K3', 'K5', 'K5b'].map((name) => entry(name, name !== 'K5b')),
    hybrid: [entry('H5', true)],
    signature: ['S1', 'S3', 'S5', 'S5b'].map((name) => entry(name, name !== 'S5b')),
    symmetric: ['C3', 'C5', 'C5b'].map((name) => entry(name, false)),
    hash: ['D2', 'D4', 'D5'].map((name) => entry(name, false)),
    mac: [],
  },
};

const rarely = <Value>(value: Value, otherwise: fc.Arbitrary<Value>) =>
  fc.oneof({ weight: 1, arbitrary: fc.constant(value) }, { weight: 24, arbitrary: otherwise });
/** Half of the time all there is. */
const mostOf = (all: readonly string[], least = 1): fc.Arbitrary<string[]> =>
  fc.oneof(fc.constant<string[]>([...all]), fc.subarray<string>([...all], { minLength: least }));
const offerOf = (algorithm: string): fc.Arbitrary<AlgorithmOffer> =>
  fc
    .record({
      status: rarely('required', fc.constantFrom('preferred', 'supported')),
      performanceTier: fc.constantFrom('high', 'medium', 'low'),
      hardwareAccelerated: fc.boolean(),
    })
    .map((about) => ({ algorithm, ...about }) as AlgorithmOffer);
const offers = (kind: NegotiatedKind): fc.Arbitrary<AlgorithmOffer[]> =>
  fc
    .tuple(mostOf(names[kind]), fc.nat())
    .map(([chosen, turn]) => chosen.map((_, at) => chosen[(at + turn) % chosen.length] ?? ''))
    .chain((chosen) => fc.tuple(...chosen.map(offerOf)));
const capabilities: fc.Arbitrary<AlgorithmCapabilities> = fc.record({
  kem: offers('kem'),
  signature: offers('signature'),
  symmetric: offers('symmetric'),
  hash: offers('hash'),
});
const limit = (max: number) =>
  fc.oneof(
    { weight: 5, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.integer({ min: Math.ceil(max / 2), max }) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max }) },
  );
const constraints = fc
  .record({ bytes: limit(6_000), key: limit(2_500), ms: limit(20) })
  .map(({ bytes, key, ms }) => ({
    ...(bytes === undefined ? {} : { maxSignatureBytes: bytes }),
    ...(key === undefined ? {} : { maxPublicKeyBytes: key }),
    ...(ms === undefined ? {} : { maxHandshakeMs: ms }),
  }));
const side = fc.record({ capabilities, constraints });
const layer = fc.integer({ min: 1, max: 7 }) as fc.Arbitrary<LayerNumber>;
const policies = fc
  .record({
    level: fc.integer({ min: 1, max: 5 }),
    kem: mostOf(names.kem),
    signature: mostOf(names.signature),
    symmetric: mostOf(names.symmetric),
    hash: mostOf(names.hash),
    prohibited: fc.oneof(
      fc.constant<string[]>([]),
      fc.subarray(['K3', 'S3', 'C5b', 'D4', 'X25519']),
    ),
    hybrids: fc.boolean(),
  })
  .map(({ level, kem, signature, symmetric, hash, prohibited, hybrids }) => ({
    ...policy,
    policies: {
      ...policy.policies,
      minimum_security_level: level,
      allowed_algorithms: { kem, hybrid: ['H5'], signature, symmetric, hash, mac: [] },
      prohibited_algorithms: prohibited,
      exceptions: [],
      hybrid_mode: { ...policy.policies.hybrid_mode, enabled: hybrids },
    },
  }));
const inputs: fc.Arbitrary<SelectionInput> = fc.record({
  client: side,
  server: side,
  constraints,
  policy: policies,
  registry: fc.constant(made),
  layers: fc.record({ client: layer, server: layer }),
});

test('the generated inputs come to both ends', () => {
  const results = fc.sample(inputs, { numRuns: 1_000, seed: 7 }).map(selectAlgorithms);
  const codes = new Set(
    results.map((each) => (each.status === 'refused' ? each.code : 'selected')),
  );
  expect([...codes].toSorted()).toEqual([
    'ORCH-8001',
    'ORCH-8002',
    'ORCH-8003',
    'ORCH-8012',
    'selected',
  ]);
});

test('symmetric: it does not matter who is client and who is server', () => {
  fc.assert(
    fc.property(inputs, (input) => {
      const { client, server, layers } = input;
      const turned = { client: layers.server, server: layers.client };
      const mirrored = { ...input, client: server, server: client, layers: turned };
      expect(selectAlgorithms(mirrored)).toEqual(selectAlgorithms(input));
    }),
    runs,
  );
});

test('deterministic: neither order of offers nor repetition changes it', () => {
  fc.assert(
    fc.property(inputs, (input) => {
      const first = selectAlgorithms(input);
      expect(selectAlgorithms(structuredClone(input))).toEqual(first);
      const client = { ...input.client, capabilities: reversed(input.client.capabilities) };
      expect(selectAlgorithms({ ...input, client })).toEqual(first);
    }),
    runs,
  );
});

test('never outside the policy, the constraints, or what both offered', () => {
  fc.assert(
    fc.property(inputs, (input) => {
      const result = selectAlgorithms(input);
      if (result.status === 'refused') return;
      for (const kind of negotiatedKinds) {
        const algorithm = result.selected[kind];
        for (const { capabilities: own } of [input.client, input.server]) {
          expect(own[kind].map((each) => each.algorithm)).toContain(algorithm);
          const required = own[kind].filter(({ status }) => status === 'required');
          for (const { algorithm: only } of required) expect(algorithm).toBe(only);
        }
        for (const where of Object.values(input.layers)) {
          const claim = { algorithm, kind: registeredKind(kind, algorithm), layer: where };
          expect(algorithmAllowed(claim, input)).toEqual({ ok: true });
        }
      }
      expectWithinConstraints(input, result.selected);
    }),
    runs,
  );
});

test('monotone: an algorithm less on one side never makes the result stronger', () => {
  const removal = fc.record({
    who: fc.constantFrom('client', 'server') as fc.Arbitrary<'client' | 'server'>,
    kind: fc.constantFrom(...negotiatedKinds),
    at: fc.nat({ max: 5 }),
  });
  fc.assert(
    fc.property(inputs, removal, (input, { who, kind, at }) => {
      const own = input[who].capabilities;
      const gone = own[kind][at % own[kind].length];
      // To withdraw a requirement is to lift a restriction, not to offer less.
      if (gone === undefined || gone.status === 'required') return;
      const less = { ...own, [kind]: own[kind].filter((each) => each !== gone) };
      const after = selectAlgorithms({ ...input, [who]: { ...input[who], capabilities: less } });
      const [before, now] = [strength(selectAlgorithms(input)), strength(after)];
      expect(compare(now, before)).toBeLessThanOrEqual(0);
    }),
    runs,
  );
});

/** The order in which selections are stronger: weakest of KEM and signature, then each kind. */
function strength(result: Selection): number[] {
  if (result.status === 'refused') return [-1];
  const { kem, signature, symmetric, hash } = result.selected;
  const pair = [levelOf(kem), levelOf(signature)];
  return [Math.min(...pair), ...pair, levelOf(symmetric), levelOf(hash)];
}

function compare(one: readonly number[], other: readonly number[]): number {
  for (const [index, value] of one.entries()) {
    const difference = value - (other[index] ?? -1);
    if (difference !== 0) return difference;
  }
  return 0;
}

function levelOf(name: string): number {
  return Number(/\d/.exec(name)?.[0] ?? 0);
}

function registeredKind(kind: NegotiatedKind, name: string): NegotiatedKind | 'hybrid' {
  return kind === 'kem' && name.startsWith('H') ? 'hybrid' : kind;
}

function reversed(own: AlgorithmCapabilities): AlgorithmCapabilities {
  const entries = negotiatedKinds.map((kind) => [kind, own[kind].toReversed()] as const);
  return Object.fromEntries(entries) as AlgorithmCapabilities;
}

function expectWithinConstraints(
  input: SelectionInput,
  selected: { readonly kem: string; readonly signature: string },
): void {
  const [kem, signature] = [levelOf(selected.kem), levelOf(selected.signature)];
  for (const limits of [input.constraints, input.client.constraints, input.server.constraints]) {
    expect(signature * 1_000).toBeLessThanOrEqual(limits.maxSignatureBytes ?? Infinity);
    expect(Math.max(kem, signature) * 400).toBeLessThanOrEqual(
      limits.maxPublicKeyBytes ?? Infinity,
    );
    if (limits.maxHandshakeMs === undefined) continue;
    expect(2 * kem + signature + 1).toBeLessThanOrEqual(limits.maxHandshakeMs);
    expect([selected.kem, selected.signature]).not.toContain('K5b');
    expect([selected.kem, selected.signature]).not.toContain('S5b');
  }
}

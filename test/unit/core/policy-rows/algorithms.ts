/** Rows of the fields that say which algorithms may be used where. */

import { settingsOf } from '#agents/layers/service/policy-settings.ts';
import { totpMac } from '#agents/layers/1-identity/totp.ts';
import type { AlgorithmOffer, TlsVersion } from '#schemas/negotiation.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { selectAlgorithms } from '#shared/core/negotiation-selection.ts';
import type { AlgorithmClaim } from '#shared/core/policy.ts';
import { agentsOf, entry, inspectionOf, registryOf, requestOf } from '../mesh.ts';
import { allows, plans, reviewed, type Policies, type PolicyRow } from './row.ts';

const policyAllows = 'policy check (planner, live check, signer)';
const identityService = 'service of layer 1 (codes of a second factor)';
const documentReview = 'review of the document (whoever signs, offers or adopts it)';

const smallSignature = { algorithm: 'ML-DSA-65', kind: 'signature', layer: 5 } as const;
const except = (rules: Policies, algorithm: string, layers: number[]): void => {
  rules.exceptions.push({ algorithm, purpose: 'an old reader', layers });
};

export const algorithmRows: readonly PolicyRow[] = [
  {
    field: 'policies.minimum_security_level',
    enforcedBy: policyAllows,
    before: (rules) => {
      rules.minimum_security_level = 3;
      rules.allowed_algorithms.signature.push('ML-DSA-65');
    },
    change: (rules) => (rules.minimum_security_level = 5),
    run: allows(smallSignature),
    code: 'ORCH-8002',
  },
  {
    field: 'policies.quantum_security_required',
    enforcedBy: policyAllows,
    before: (rules) => {
      rules.quantum_security_required = false;
      rules.allowed_algorithms.mac.push('OLD-MAC');
    },
    change: (rules) => (rules.quantum_security_required = true),
    run: allows({ algorithm: 'OLD-MAC', kind: 'mac', layer: 2 }, ({ algorithms }) =>
      algorithms.mac.push(entry('OLD-MAC', 0)),
    ),
    code: 'ORCH-8002',
  },
  ...allowed({ algorithm: 'ML-KEM-1024', kind: 'kem', layer: 4 }),
  ...allowed({ algorithm: 'ML-DSA-87', kind: 'signature', layer: 1 }),
  ...allowed({ algorithm: 'X25519MLKEM1024', kind: 'hybrid', layer: 3 }),
  ...allowed({ algorithm: 'SHA3-512', kind: 'hash', layer: 8 }),
  ...allowed({ algorithm: 'AES-256-GCM', kind: 'symmetric', layer: 4 }),
  ...allowed({ algorithm: 'HMAC-SHA3-384', kind: 'mac', layer: 6 }),
  {
    field: 'policies.exceptions[].algorithm',
    enforcedBy: policyAllows,
    before: (rules) => except(rules, 'ML-DSA-65', [5]),
    change: ({ exceptions }) => (last(exceptions).algorithm = 'ML-DSA-44'),
    run: allows(smallSignature),
    code: 'ORCH-8002',
  },
  {
    field: 'policies.exceptions[].layers',
    enforcedBy: policyAllows,
    before: (rules) => except(rules, 'ML-DSA-65', [5]),
    change: ({ exceptions }) => (last(exceptions).layers = [6]),
    run: allows(smallSignature),
    code: 'ORCH-8002',
  },
  {
    field: 'policies.exceptions[].algorithm',
    enforcedBy: identityService,
    change: ({ exceptions }) => (codesOf(exceptions).algorithm = 'HMAC-SHA-1'),
    run: takesCodes,
    code: 'SECOND_FACTOR_FORBIDDEN',
  },
  {
    field: 'policies.exceptions[].layers',
    enforcedBy: identityService,
    change: ({ exceptions }) => (codesOf(exceptions).layers = [2]),
    run: takesCodes,
    code: 'SECOND_FACTOR_FORBIDDEN',
  },
  {
    field: 'policies.prohibited_algorithms',
    enforcedBy: identityService,
    change: ({ prohibited_algorithms: prohibited }) => prohibited.push('SHA-512'),
    run: takesCodes,
    code: 'SECOND_FACTOR_FORBIDDEN',
  },
  {
    field: 'policies.allowed_algorithms.mac',
    enforcedBy: identityService,
    before: ({ exceptions, allowed_algorithms: { mac } }) => {
      codesOf(exceptions).layers = [];
      mac.push(totpMac);
    },
    change: ({ allowed_algorithms: { mac } }) => mac.pop(),
    run: takesCodes,
    code: 'SECOND_FACTOR_FORBIDDEN',
  },
  {
    field: 'policies.exceptions[].purpose',
    enforcedBy: documentReview,
    change: ({ exceptions }) => (last(exceptions).purpose = ' '),
    run: reviewed,
    code: 'ORCH-8002',
  },
  {
    field: 'policies.prohibited_algorithms',
    enforcedBy: policyAllows,
    before: (rules) => except(rules, 'ML-DSA-65', [5]),
    change: (rules) => rules.prohibited_algorithms.push('ML-DSA-65'),
    run: allows(smallSignature),
    code: 'ORCH-8002',
  },
  {
    field: 'policies.prohibited_algorithms',
    enforcedBy: documentReview,
    change: (rules) => rules.prohibited_algorithms.push('X25519'),
    run: reviewed,
    code: 'ORCH-8002',
  },
  ...hybridRows(),
  ...layerRows(),
];

function allowed(claim: AlgorithmClaim): PolicyRow[] {
  const { algorithm, kind } = claim;
  const field = `policies.allowed_algorithms.${kind}`;
  const without: PolicyRow['change'] = ({ allowed_algorithms: lists }) =>
    (lists[kind] = lists[kind].filter((name) => name !== algorithm));
  const code = 'ORCH-8002';
  const withUnknown: PolicyRow['change'] = ({ allowed_algorithms: lists }) =>
    lists[kind].push('NO-SUCH');
  return [
    { field, enforcedBy: policyAllows, change: without, run: allows(claim), code },
    { field, enforcedBy: documentReview, change: withUnknown, run: reviewed, code: 'ORCH-8003' },
  ];
}

function hybridRows(): PolicyRow[] {
  const exchange = { algorithm: 'X25519MLKEM1024', kind: 'hybrid', layer: 3 } as const;
  const hybrid = { enforcedBy: policyAllows, run: allows(exchange), code: 'ORCH-8002' };
  const pure = { algorithm: 'MLKEM1024HQC256', kind: 'hybrid', layer: 3 } as const;
  return [
    {
      ...hybrid,
      field: 'policies.hybrid_mode.enabled',
      change: (rules) => (rules.hybrid_mode.enabled = false),
    },
    {
      ...hybrid,
      field: 'policies.hybrid_mode.combiner',
      change: (rules) => (rules.hybrid_mode.combiner = 'SHA3-512'),
    },
    {
      ...hybrid,
      field: 'policies.hybrid_mode.classical_component_required',
      before: (rules) => {
        rules.hybrid_mode.classical_component_required = false;
        rules.allowed_algorithms.hybrid.push('MLKEM1024HQC256');
      },
      change: (rules) => (rules.hybrid_mode.classical_component_required = true),
      run: allows(pure, ({ algorithms }) => {
        const components = ['ML-KEM-1024', 'HQC-256'];
        algorithms.hybrid.push(entry(pure.algorithm, 5, { components, combiner: 'SHA3-384' }));
      }),
    },
  ];
}

function layerRows(): PolicyRow[] {
  const field = 'policies.layer_specific';
  const rule = { enforcedBy: policyAllows, code: 'ORCH-8002' };
  const speaking12 = agentsOf()
    .map(inspectionOf)
    .map((one) => (one.agentId === 'layer-3-a' ? { ...one, tlsVersionMin: '1.2' as const } : one));
  return [
    {
      ...rule,
      field: `${field}.layer_1.ml_dsa_signature_required`,
      before: (rules) => {
        rules.layer_specific.layer_1.ml_dsa_signature_required = false;
        rules.allowed_algorithms.signature.push('SLH-DSA-SHAKE-256s');
      },
      change: (rules) => (rules.layer_specific.layer_1.ml_dsa_signature_required = true),
      run: allows({ algorithm: 'SLH-DSA-SHAKE-256s', kind: 'signature', layer: 1 }),
    },
    {
      ...rule,
      field: `${field}.layer_3.hybrid_key_exchange_required`,
      before: (rules) => (rules.layer_specific.layer_3.hybrid_key_exchange_required = false),
      change: (rules) => (rules.layer_specific.layer_3.hybrid_key_exchange_required = true),
      run: allows({ algorithm: 'ML-KEM-1024', kind: 'kem', layer: 3 }),
    },
    {
      ...rule,
      field: `${field}.layer_3.min_tls_version`,
      enforcedBy: 'planner and live check',
      before: (rules) => (rules.layer_specific.layer_3.min_tls_version = '1.2'),
      change: (rules) => (rules.layer_specific.layer_3.min_tls_version = '1.3'),
      run: plans({ request: requestOf([3]), inspections: speaking12 }),
    },
    {
      ...rule,
      field: `${field}.layer_3.min_tls_version`,
      enforcedBy: 'negotiation',
      before: (rules) => (rules.layer_specific.layer_3.min_tls_version = '1.2'),
      change: (rules) => (rules.layer_specific.layer_3.min_tls_version = '1.3'),
      run: negotiates('1.2'),
    },
    {
      ...rule,
      field: `${field}.layer_4.min_aes_key_size`,
      before: (rules) => {
        except(rules, 'AES-128-GCM', [4]);
        rules.layer_specific.layer_4.min_aes_key_size = 128;
      },
      change: (rules) => (rules.layer_specific.layer_4.min_aes_key_size = 256),
      run: allows({ algorithm: 'AES-128-GCM', kind: 'symmetric', layer: 4 }),
    },
    {
      ...rule,
      field: `${field}.layer_4.authenticated_encryption_required`,
      before: (rules) => {
        rules.allowed_algorithms.symmetric.push('AES-256-CTR');
        rules.layer_specific.layer_4.authenticated_encryption_required = false;
      },
      change: (rules) => (rules.layer_specific.layer_4.authenticated_encryption_required = true),
      run: allows({ algorithm: 'AES-256-CTR', kind: 'symmetric', layer: 4 }, ({ algorithms }) =>
        algorithms.symmetric.push(entry('AES-256-CTR', 5, { key_sizes: { secret_key: 32 } })),
      ),
    },
  ];
}

/** Two agents of layer 3 that offer each other what the provisioned policy allows there. */
function negotiates(tlsVersionMin: TlsVersion) {
  const offers = (algorithm: string): AlgorithmOffer[] => [
    { algorithm, status: 'supported', performanceTier: 'high' },
  ];
  const capabilities = {
    kem: offers('X25519MLKEM1024'),
    signature: offers('ML-DSA-87'),
    symmetric: offers('AES-256-GCM'),
    hash: offers('SHA3-384'),
  };
  const side = { capabilities, constraints: {}, tlsVersionMin };
  const layers = { client: 3, server: 3 } as const;
  const input = { client: side, server: side, constraints: {}, layers, registry: registryOf() };
  return (policy: PolicyBody): string => {
    const selection = selectAlgorithms({ ...input, policy });
    return selection.status === 'refused' ? selection.code : 'ok';
  };
}

function last<Item>(items: readonly Item[]): Item {
  const item = items.at(-1);
  if (item === undefined) throw new Error('the list is empty');
  return item;
}

/** What the service of layer 1 is told of a policy, and does by it (identity-login.test.ts). */
async function takesCodes(policy: PolicyBody): Promise<string> {
  const { secondFactorMacs } = settingsOf(policy, '0'.repeat(64));
  return secondFactorMacs.includes(totpMac) ? 'ok' : 'SECOND_FACTOR_FORBIDDEN';
}

function codesOf(exceptions: Policies['exceptions']): Policies['exceptions'][number] {
  const found = exceptions.find(({ algorithm }) => algorithm === totpMac);
  if (found === undefined) throw new Error(`the policy does not except ${totpMac}`);
  return found;
}

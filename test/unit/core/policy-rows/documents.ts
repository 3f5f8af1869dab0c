/** Rows of the fields that make a policy a document: they are judged when it is offered. */

import type { PolicyBody } from '#schemas/policy.ts';
import { policyAllows } from '#shared/core/policy.ts';
import { adopt, successor, under } from './living.ts';
import type { PolicyRow } from './row.ts';

const enforcedBy = 'every receiver of the document';

export const documentRows: readonly PolicyRow[] = [
  row('kind', (_policies, body) => ((body as { kind: string }).kind = 'rules'), 'ORCH-8015'),
  row('mesh', (_policies, body) => (body.mesh = 'other')),
  row('policy_name', (_policies, body) => (body.policy_name = 'No Name')),
  row('version', (_policies, body) => (body.version = 1)),
  row('issued_at', (_policies, body) => (body.issued_at = '2020-01-01T00:00:00.000Z')),
  row('expires_at', (_policies, body) => (body.expires_at = body.issued_at)),
  {
    field: 'applies',
    enforcedBy: 'everyone who judges a saga that began under an earlier policy',
    before: (policies, body) => {
      successor(policies, body);
      policies.prohibited_algorithms.push('HMAC-SHA3-384');
      policies.allowed_algorithms.mac = [];
    },
    change: (_policies, body) => (body.applies = 'at-once'),
    run: async (policy) => {
      const { world, trust } = await under(policy);
      const judging = trust.policyFor(world.trust.policyDigest);
      if (judging === undefined) return 'unknown';
      const use = { algorithm: 'HMAC-SHA3-384', keyKind: 'mac', layer: 6 } as const;
      const verdict = policyAllows(use, { policy: judging, registry: trust.registry });
      return verdict.ok ? 'ok' : verdict.code;
    },
    code: 'ORCH-8002',
  },
];

function row(field: string, change: PolicyRow['change'], code = 'ORCH-8011'): PolicyRow {
  return { field, enforcedBy, before: successor, change, run: offered, code };
}

async function offered(policy: PolicyBody): Promise<string> {
  const { adoption } = await adopt(policy);
  return adoption.status === 'refused' ? adoption.code : 'ok';
}

/** What has to hold once a load is over, beside that everything reads as it was written. */
import { join } from 'node:path';
import { ServiceClient } from '#agents/layers/service/service-client.ts';
import type { MeshLayout } from '#cli/mesh/layout.ts';
import { compile, Type } from '#schemas/primitives.ts';
import { runGyre } from '../support/gyre.ts';
import type { TestMesh } from '../support/mesh.ts';

const pageCheck = compile(
  Type.Object({
    verified: Type.Integer(),
    last: Type.Object({ sequence: Type.Integer(), hash: Type.String() }),
    isDone: Type.Boolean(),
    faults: Type.Array(Type.Object({ code: Type.String(), sequence: Type.Integer() })),
  }),
);

/** Every entry of layer 5's chain, with its signature and its columns; how many, and what is wrong. */
export async function verifyChain(layout: MeshLayout) {
  const client = new ServiceClient({ socketPath: layout.controlSocket(5), timeoutMs: 60_000 });
  const faults: string[] = [];
  let verified = 0;
  let after: { sequence: number; hash: string } | undefined;
  try {
    for (;;) {
      const answer = await client.ask({
        method: 'POST',
        path: '/v1/admin/chain/verifications',
        body: after === undefined ? {} : { after },
      });
      if (answer.status === 'refused') throw new Error(`the chain: ${answer.code}`);
      if (!pageCheck.check(answer.body)) throw new Error('the chain: no report');
      const { last, isDone, faults: found, verified: more } = answer.body;
      faults.push(...found.map(({ code, sequence }) => `${code} at ${sequence}`));
      verified += more;
      if (isDone) return { verified, faults };
      after = last;
    }
  } finally {
    client.close();
  }
}

/** Exports the audit, and verifies it with nothing of the mesh. What was said, and whether it holds. */
export async function verifyAudit({ folder, layout, mesh }: TestMesh) {
  const file = join(folder, 'load.audit');
  const exported = await runGyre(['audit', 'export', '--out', file, '--dir', layout.root]);
  if (exported.code !== 0) return { holds: false, said: exported.stderr };
  const verified = await runGyre(['audit', 'verify', file, '--root', mesh.rootDigest]);
  return { holds: verified.code === 0, said: verified.stdout.split('\n')[0] ?? '' };
}

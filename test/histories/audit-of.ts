/** The whole log of a mesh's auditor, under a checkpoint of now. */

import type { AuditCheckpoint } from '#schemas/plan.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import type { InMemoryMesh } from '../support/in-memory-mesh.ts';

const askMs = 10_000;

async function ask(mesh: InMemoryMesh, query: Parameters<InMemoryMesh['ask']>[0]) {
  const to = { agentId: 'auditor', channel: 'operators' };
  const answer = await mesh.operator('op-1').ask(to, query, askMs);
  if (!answer.ok) throw new Error(`${answer.code}: ${answer.reason}`);
  return answer.result;
}

/** As `gyre audit export` asks for it. */
export async function auditOf(mesh: InMemoryMesh) {
  const stated = await ask(mesh, { ask: 'audit-checkpoint' });
  const { checkpoint } = stated as { checkpoint: AuditCheckpoint };
  const { tree_size: size } = checkpoint.body;
  const records: AuditRecord[] = [];
  while (records.length < size) {
    const from = records.length;
    const recordsMax = Math.min(256, size - from);
    const page = await ask(mesh, { ask: 'audit-records', from, recordsMax });
    records.push(...(page as { records: AuditRecord[] }).records);
  }
  return { checkpoint, records };
}

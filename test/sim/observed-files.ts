/** `trust.json` of an agent, read beside its owner: versions in force, lockouts, policies. */

import type { PolicyBody } from '#schemas/policy.ts';
import type { OfferedDocument } from '#schemas/trust.ts';
import type { Change, TrustVersions } from './observation.ts';
import type { At } from './observed-stores.ts';
import type { AgentRecord } from './observer.ts';

interface TrustFile {
  readonly state: {
    readonly documents: readonly { readonly document: OfferedDocument }[];
    readonly lockouts: readonly { readonly sender: string; readonly untilMs: number }[];
  };
}

export function readTrustFile(
  content: Uint8Array,
  record: AgentRecord,
  at: At,
): { changes: Change[]; policies: PolicyBody[] } {
  const { state } = JSON.parse(new TextDecoder().decode(content)) as TrustFile;
  const changes: Change[] = [];
  const policies: PolicyBody[] = [];
  const versions: Record<keyof TrustVersions, number> = { root: 1, registry: 1, policy: 1 };
  for (const { document } of state.documents) {
    const { body } = document;
    if (body.kind === 'policy') policies.push(body);
    // The last one adopted counts, as it does for whoever reads the file.
    if (body.kind !== 'revocation') versions[body.kind] = body.version;
  }
  const before = record.trust;
  const isSame =
    before?.root === versions.root &&
    before.registry === versions.registry &&
    before.policy === versions.policy;
  if (!isSame) {
    record.trust = versions;
    changes.push({ kind: 'trust', ...at, before, after: versions });
  }
  changes.push(...lockoutChanges(state.lockouts, record, at));
  return { changes, policies };
}

function lockoutChanges(
  lockouts: TrustFile['state']['lockouts'],
  record: AgentRecord,
  at: At,
): Change[] {
  const now = new Map(lockouts.map(({ sender, untilMs }) => [sender, untilMs]));
  const changes: Change[] = [];
  for (const sender of new Set([...now.keys(), ...record.lockouts.keys()])) {
    const [before, after] = [record.lockouts.get(sender), now.get(sender)];
    if (before !== after) changes.push({ kind: 'lockout', ...at, sender, before, after });
  }
  record.lockouts = now;
  return changes;
}

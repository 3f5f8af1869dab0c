/**
 * Whether the documents of a mesh hold under its pinned root, now and for a while: the bundle that it
 * began with, and what each member adopted since and keeps on disk, verified as at its start.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { openTrust, type TrustView } from '#shared/crypto/trust.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { TrustStateError, TrustStore } from '#shared/runtime/trust-store.ts';
import { memberFiles, type MeshLayout } from '../mesh/layout.ts';
import { members } from '../mesh/members.ts';
import type { MeshFile } from '../mesh/mesh-file.ts';
import type { Finding } from './checks.ts';

const check = 'trust';
const kinds = ['root', 'registry', 'policy'] as const;
const expiryWarningMs = 30 * 24 * 3_600_000;

export async function checkTrust(layout: MeshLayout, mesh: MeshFile): Promise<Finding> {
  const nowMs = Date.now();
  const crypto = createNativeProvider();
  const bundle: unknown = JSON.parse(await readFile(layout.bundleFile, 'utf8'));
  const opened = openTrust(crypto, { bundle, rootDigest: mesh.rootDigest, nowMs });
  if (opened.status === 'refused') {
    const found = `${opened.code}: ${opened.reason}`;
    return { check, verdict: 'fail', found, hint: 'Restore the trust bundle of the mesh.' };
  }
  const views: TrustView[] = [opened.trust];
  for (const member of members) {
    const trust = opened.trust.atGenesis();
    const directory = join(layout.memberDirectory(member), memberFiles.state);
    try {
      TrustStore.open({ disk: new SystemDisk(directory), crypto, trust });
    } catch (error) {
      if (!(error instanceof TrustStateError)) throw error;
      const hint = `Move ${error.file} away; ${member.id} then begins with the bundle and fetches what the mesh keeps.`;
      return { check, verdict: 'fail', found: `${error.code}: ${error.message}`, hint };
    }
    views.push(trust);
  }
  return expiry(views, nowMs);
}

/** Of the newest of each kind. */
function expiry(views: readonly TrustView[], nowMs: number): Finding {
  const newest = kinds.map((kind) =>
    views
      .map((view) => view[kind])
      .reduce((one, other) => (other.version > one.version ? other : one)),
  );
  const soonest = Math.min(...newest.map(({ expires_at }) => Date.parse(expires_at)));
  const until = new Date(soonest).toISOString();
  const versions = newest.map(({ kind, version }) => `${kind} ${version}`).join(', ');
  const found = `${versions} hold until ${until}`;
  if (soonest - nowMs > expiryWarningMs) return { check, verdict: 'ok', found };
  return { check, verdict: 'warn', found, hint: 'Have the operators sign new versions in time.' };
}

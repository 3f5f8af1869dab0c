/**
 * Who is not started any more: an agent whose enrolment was ended gets no secret of any channel, so it
 * would never be ready. The orchestrators' own states say who that is, checked like everything in them.
 */
import { dirname, join } from 'node:path';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { TrustStateError, TrustStore } from '#shared/runtime/trust-store.ts';
import { memberFiles, type MeshLayout } from './layout.ts';
import { agents } from './members.ts';
import type { MeshFile } from './mesh-file.ts';
import { readBundle } from './nats-config.ts';

export async function revokedAgents(
  layout: MeshLayout,
  { rootDigest }: MeshFile,
): Promise<ReadonlySet<string>> {
  const crypto = createNativeProvider();
  const opened = openTrust(crypto, { bundle: await readBundle(layout), rootDigest });
  // Every agent refuses such a bundle itself, and says why.
  if (opened.status !== 'ok') return new Set();
  const { trust } = opened;
  for (const orchestrator of agents.filter(({ kind }) => kind === 'orchestrator')) {
    const directory = join(dirname(layout.configFile(orchestrator)), memberFiles.state);
    try {
      TrustStore.open({ disk: new SystemDisk(directory), crypto, trust });
    } catch (error) {
      // A damaged state is the fault of the agent whose it is: it does not start, and says so.
      if (!(error instanceof TrustStateError)) throw error;
    }
  }
  return new Set(
    trust
      .agents()
      .flatMap(({ agentId, revokedAtMs }) => (revokedAtMs === undefined ? [] : [agentId])),
  );
}

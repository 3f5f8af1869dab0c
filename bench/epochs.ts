/**
 * Channel set-up without the network: an orchestrator draws a secret and encapsulates it to the members'
 * prekeys, and a member opens its capsule, checks the commitment and derives the keys of a chain. The
 * signer's statement is measured with the token.
 */
import {
  newHybridKey,
  openCapsule,
  sealCapsule,
  secretCommitment,
} from '#shared/crypto/epoch-capsule.ts';
import { deriveChannelKeys } from '#shared/crypto/key-schedule.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { measure } from './measure.ts';
import type { Row } from './report.ts';

/** Running agents of a development mesh. */
const members = 11;
const name = { mesh: 'bench', channel: 'mesh', epoch: 1 };

export async function epochRows(runs: number): Promise<Row[]> {
  const crypto = createNativeProvider();
  const keys = Array.from({ length: members }, () => newHybridKey(crypto));
  const announce = () => {
    const secret = crypto.randomBytes(32);
    const capsules = keys.map(({ keyId: prekeyId, publicKey }, index) =>
      sealCapsule(crypto, {
        ...name,
        agentId: `agent-${index}`,
        prekey: { prekeyId, publicKey },
        secret,
      }),
    );
    return { capsules, commitment: secretCommitment(crypto, name, secret) };
  };
  const { capsules, commitment } = announce();
  const [capsule] = capsules;
  const [prekey] = keys;
  if (capsule === undefined || prekey === undefined) throw new Error('no member');
  const incarnation = crypto.randomBytes(32);
  const accept = (): void => {
    const secret = openCapsule(crypto, { ...name, capsule, prekey });
    if (secret === undefined || secretCommitment(crypto, name, secret) !== commitment) {
      throw new Error('the capsule does not hold the secret');
    }
    const scope = { ...name, sender: 'agent-0', incarnation, audience: 'mesh', lane: 'control' };
    deriveChannelKeys(crypto, secret, { ...scope, lane: 'control' }).wipe();
    secret.fill(0);
  };
  const options = { runs, warmupRuns: 20, budgetMs: 10_000 };
  const group = 'channel set-up (X25519MLKEM1024)';
  const note = 'budget p99 20 ms, both together';
  return [
    {
      group,
      name: `draw and encapsulate, ${members} members`,
      summary: await measure(announce, options),
      note,
    },
    {
      group,
      name: 'open, check, derive: one member',
      summary: await measure(accept, options),
      note,
    },
    { group, name: 'a fresh prekey', summary: await measure(() => newHybridKey(crypto), options) },
  ];
}

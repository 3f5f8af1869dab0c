/**
 * More than anybody should send: many requests at once from an operator, and garbage, repetitions and
 * pieces of frames from a thief who has the bus key of one layer agent.
 */
import { readFile } from 'node:fs/promises';
import { connect, headers, nkeyAuthenticator } from '@nats-io/transport-node';
import { agents } from '#cli/mesh/members.ts';
import { memberFiles } from '#cli/mesh/layout.ts';
import { layerNumbers } from '#schemas/layers.ts';
import { inboxPrefix, subjectsOf } from '#shared/bus/subjects.ts';
import { join } from 'node:path';
import type { FaultContext, Harm } from './faults.ts';

const requestsAtOnce = 24;
const garbageCount = 400;
const garbageBytesMax = 64 * 1024;
const flushMs = 5_000;

/** Plans that nobody executes, all at the same time; what is refused is refused. */
export async function burst({ drive, draws }: FaultContext): Promise<Harm> {
  const layers = Array.from({ length: requestsAtOnce }, () => [draws.pick(layerNumbers)]);
  let asked: Promise<unknown> = Promise.resolve();
  const begin = async (): Promise<void> => {
    asked = drive
      .as('op-2', (op) => Promise.allSettled(layers.map((some) => drive.draft(op, some))))
      .catch(drive.expected);
  };
  return {
    target: `${requestsAtOnce} plans`,
    lastsMs: draws.between(500, 2_000),
    begin,
    end: async () => void (await asked),
  };
}

/** On every subject on which the agent may speak, as fast as a server takes it. */
export async function flood({ mesh, draws }: FaultContext): Promise<Harm> {
  const victim = draws.pick(agents.filter(({ kind }) => kind === 'layer'));
  const subjects = subjectsOf(mesh.mesh.mesh);
  const layer = victim.layer ?? 1;
  const targets = [
    subjects.report(layer, victim.id),
    subjects.capability(layer, victim.id),
    subjects.telemetry(layer, victim.id),
    subjects.trust(victim.id),
    subjects.prekey(victim.id),
    subjects.epochReport(victim.id),
    subjects.dead(victim.id),
    ...['signer', 'auditor', 'orchestrator-a'].map((id) => subjects.query(id)),
  ];
  const begin = async (): Promise<void> => {
    const seed = join(mesh.layout.memberDirectory(victim), memberFiles.nkeySeed);
    const connection = await connect({
      servers: mesh.nodes.nodes.map(({ port }) => `127.0.0.1:${port}`),
      authenticator: nkeyAuthenticator(await readFile(seed)),
      inboxPrefix: inboxPrefix(victim.id),
      timeout: flushMs,
    });
    try {
      for (let count = 0; count < garbageCount; count += 1) {
        const named = headers();
        named.set('Nats-Msg-Id', Buffer.from(draws.bytes(32)).toString('hex'));
        const size = draws.chance(0.1) ? garbageBytesMax : draws.between(0, 2_000);
        connection.publish(draws.pick(targets), draws.bytes(size), { headers: named });
      }
      await connection.flush();
    } finally {
      await connection.close();
    }
  };
  return { target: victim.id, lastsMs: draws.between(0, 2_000), begin, end: async () => {} };
}

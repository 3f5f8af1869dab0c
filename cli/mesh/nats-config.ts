/**
 * The nats-server of a mesh: its configuration file, rendered anew at every start from the enrolments
 * and the administrator's public key, and its streams and consumers, put in place once it answers.
 */
import { readFile } from 'node:fs/promises';
import { trustBundleCheck, type TrustBundle } from '#schemas/trust.ts';
import { provision } from '#shared/bus/nats-provision.ts';
import { renderServerConfig } from '#shared/bus/server-config.ts';
import { provisionPlan, type BusPrincipal } from '#shared/bus/streams.ts';
import { CliFault } from '../fault.ts';
import { natsAddress } from './agent-configs.ts';
import { replaceFile } from './durable-files.ts';
import type { MeshLayout } from './layout.ts';
import type { MeshFile } from './mesh-file.ts';

type Enrolments = TrustBundle['enrolments'];

const connectTimeoutMs = 30_000;

export async function readBundle(layout: MeshLayout): Promise<TrustBundle> {
  const bundle = parsed(await readFile(layout.bundleFile, 'utf8'));
  if (trustBundleCheck.check(bundle)) return bundle;
  throw new CliFault({
    code: 'BUNDLE_MALFORMED',
    reason: `${layout.bundleFile} is not a trust bundle`,
    hint: 'Restore the file from a copy of the mesh directory.',
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Writes nats-server.conf; the streams lie in `layout`. */
export async function writeServerConfig(
  layout: MeshLayout,
  mesh: Pick<MeshFile, 'mesh' | 'port' | 'adminNkey'>,
  enrolments: Enrolments,
): Promise<void> {
  const users = enrolments.map(({ body }) => ({ principal: principalOf(body), nkey: body.nkey }));
  const text = renderServerConfig({
    mesh: mesh.mesh,
    serverName: `gyre-${mesh.mesh}`,
    port: mesh.port,
    storeDir: layout.natsStoreDirectory,
    users,
    adminNkey: mesh.adminNkey,
  });
  await replaceFile(layout.natsConfigFile, text);
}

/** Makes streams and consumers as the administrator, whose key nothing else uses. */
export async function provisionStreams(
  layout: MeshLayout,
  mesh: Pick<MeshFile, 'mesh' | 'port'>,
  enrolments: Enrolments,
): Promise<void> {
  const adminSeed = await readFile(layout.adminSeedFile);
  try {
    const principals = enrolments.map(({ body }) => principalOf(body));
    await provision(
      { servers: natsAddress(mesh.port), adminSeed, connectTimeoutMs },
      provisionPlan({ mesh: mesh.mesh, principals }),
    );
  } finally {
    adminSeed.fill(0);
  }
}

export function principalOf(body: Enrolments[number]['body']): BusPrincipal {
  const { agent_id: id, agent_kind: kind, layer } = body;
  return { id, kind, ...(layer === undefined ? {} : { layer }) };
}

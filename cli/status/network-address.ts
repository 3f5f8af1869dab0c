/**
 * Where clients reach layer 3: the service as it says in its state folder, or the server that is attached
 * in its place, as the agent's configuration has it.
 */
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { agentConfigCheck } from '#schemas/config.ts';
import { systemErrorCode } from '../mesh/durable-files.ts';
import { listeningAddress } from '../mesh/held-port.ts';
import { memberFiles, type MeshLayout } from '../mesh/layout.ts';
import { agents } from '../mesh/members.ts';

export interface NetworkAddress {
  readonly host: string;
  readonly port: number;
  /** Whose server it is. */
  readonly by: 'service' | 'attached';
  /** What clients have to trust: a file of certificates. */
  readonly roots: string;
}

/** Undefined where layer 3 serves no clients, or has not said yet where. */
export function networkAddress(
  layout: MeshLayout,
  hasServices: boolean,
): NetworkAddress | undefined {
  const attached = attachedServer(layout);
  if (attached !== undefined) return attached;
  const told = hasServices ? listeningAddress(layout, 3) : undefined;
  if (told === undefined) return undefined;
  const roots = join(layout.serviceDirectory(3), memberFiles.state, rootsFile);
  return { ...told, by: 'service', roots };
}

const rootsFile = 'roots.pem';

function attachedServer(layout: MeshLayout): NetworkAddress | undefined {
  const member = agents.find(({ layer }) => layer === 3);
  if (member === undefined) return undefined;
  const file = layout.configFile(member);
  const config = configIn(file);
  if (!agentConfigCheck.check(config) || config.attached?.kind !== 'certificate-files') {
    return undefined;
  }
  const { address, directory } = config.attached;
  return { ...address, by: 'attached', roots: resolve(dirname(file), directory, rootsFile) };
}

/** Undefined for what cannot be read: the agent itself says what is wrong with it. */
function configIn(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError || systemErrorCode(error) !== undefined) return undefined;
    throw error;
  }
}

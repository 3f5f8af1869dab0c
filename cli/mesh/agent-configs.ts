/**
 * The configuration file of every member of a mesh. Paths are relative to the member's folder; only
 * the port can change later, when it was taken by somebody else.
 */
import { readFile } from 'node:fs/promises';
import { relative } from 'node:path';
import {
  agentConfigCheck,
  agentConfigFaults,
  type AgentConfig,
  type TokenConfig,
} from '#schemas/config.ts';
import { CliFault } from '../fault.ts';
import { createFile, replaceFile } from './durable-files.ts';
import { memberFiles, type MeshLayout } from './layout.ts';
import { networkNames } from './services.ts';
import { members, type Member } from './members.ts';

export interface ConfigFields {
  readonly mesh: string;
  readonly rootDigest: string;
  readonly port: number;
  readonly token: TokenConfig;
  /** Whether services of their own hold the layers' keys. */
  readonly services?: boolean;
  /** Between two heartbeats of a layer agent; a second unless told. */
  readonly heartbeatMs?: number;
}

/** Uses of an old key within this span keep it from being retired; above any round of a workload. */
const recentUseMs = 1_000;
/** Milliseconds between two heartbeats. */
export const heartbeatBounds = { min: 100, max: 60_000 };
/** Silence of an orchestrator after which the other one goes on with its sagas. */
const takeoverMs = 1_500;
const checkpointLeaves = 512;
const checkpointMs = 5_000;

export function configOf(layout: MeshLayout, member: Member, fields: ConfigFields): AgentConfig {
  const directory = layout.memberDirectory(member);
  const from = (path: string): string => relative(directory, path);
  return {
    mesh: fields.mesh,
    agentId: member.id,
    agentKind: member.kind,
    ...(member.layer === undefined ? {} : { layer: member.layer }),
    rootDigest: fields.rootDigest,
    trustBundle: from(layout.bundleFile),
    natsUrl: natsAddress(fields.port),
    identitySeedFile: memberFiles.identitySeed,
    kemSeedFile: memberFiles.kemSeed,
    nkeySeedFile: memberFiles.nkeySeed,
    stateDirectory: memberFiles.state,
    ...ofKind(layout, member, fields, from),
  };
}

/** Where the agents of a mesh find its nats-server. */
export function natsAddress(port: number): string {
  return `127.0.0.1:${port}`;
}

export async function writeConfigs(layout: MeshLayout, fields: ConfigFields): Promise<void> {
  await Promise.all(
    members.map((member) =>
      createFile(layout.configFile(member), render(configOf(layout, member, fields))),
    ),
  );
}

/** Tells every member of another port. */
export async function rewritePort(layout: MeshLayout, port: number): Promise<void> {
  for (const member of members) {
    const path = layout.configFile(member);
    const config: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (!agentConfigCheck.check(config)) {
      throw new CliFault({
        code: 'CONFIG_INVALID',
        reason: `${path} is no configuration: ${agentConfigFaults(config).join('; ')}`,
        hint: 'Restore the file; gyre does not guess what was meant.',
      });
    }
    await replaceFile(path, render({ ...config, natsUrl: natsAddress(port) }));
  }
}

function ofKind(
  layout: MeshLayout,
  member: Member,
  fields: ConfigFields,
  from: (path: string) => string,
): Partial<AgentConfig> {
  switch (member.kind) {
    case 'layer':
      return {
        ...(fields.services === true && member.layer !== undefined
          ? { serviceControlSocket: from(layout.controlSocket(member.layer)) }
          : { keyServiceSocket: from(layout.keyServiceSocket(member.id)), recentUseMs }),
        ...(fields.heartbeatMs === undefined ? {} : { heartbeatMs: fields.heartbeatMs }),
      };
    case 'signer':
      return {
        token: fields.token,
        ...(fields.services === true ? { certificateNames: [...networkNames] } : {}),
      };
    case 'orchestrator':
      return { takeoverMs };
    case 'auditor':
      return { checkpointLeaves, checkpointMs };
    case 'operator':
      // The command line tells its faults itself.
      return { logLevel: 'silent' };
  }
}

function render(config: AgentConfig): string {
  return `${JSON.stringify(config, null, 2)}\n`;
}

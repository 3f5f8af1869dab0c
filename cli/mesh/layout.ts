/**
 * Where everything of a mesh lies in its directory D. All paths are written in this file; the
 * configuration files of the agents name theirs relative to their own folder, so that D can be built
 * elsewhere and moved into place in one step.
 */
import { join } from 'node:path';
import { layerNames, type LayerNumber } from '#schemas/layers.ts';

export interface MeshLayout {
  readonly root: string;
  /** What the mesh is: name, port, token, root digest. */
  readonly meshFile: string;
  readonly bundleFile: string;
  /** NKEY of the administrator who makes streams and consumers. */
  readonly adminSeedFile: string;
  readonly natsConfigFile: string;
  readonly natsStoreDirectory: string;
  readonly logsDirectory: string;
  readonly runDirectory: string;
  readonly lockFile: string;
  readonly processesFile: string;
  readonly tokenDirectory: string;
  /** Of the token that holds layer 4's root KEK, where its service has one. */
  readonly rootTokenDirectory: string;
  memberDirectory(member: { readonly id: string; readonly kind: string }): string;
  configFile(member: { readonly id: string; readonly kind: string }): string;
  logFile(processId: string): string;
  /** Unix socket on which workloads use the keys of a layer. */
  keyServiceSocket(agentId: string): string;
  /** Of a layer's service: configuration and state. */
  serviceDirectory(layer: LayerNumber): string;
  serviceConfigFile(layer: LayerNumber): string;
  /** Where anybody uses it. */
  serviceSocket(layer: LayerNumber): string;
  /** Where one other layer uses more of it; in a folder of its own. */
  peerSocket(layer: LayerNumber, peer: LayerNumber): string;
  /** Where its agent turns the keys. */
  controlSocket(layer: LayerNumber): string;
}

/** Names inside the folder of a member. */
export const memberFiles = {
  config: 'config.json',
  identitySeed: 'identity.seed',
  kemSeed: 'kem.seed',
  nkeySeed: 'nkey.seed',
  /** Of operators: the SLH-DSA-SHAKE-256s secret key (128 bytes) that signs roots a second time. */
  anchorKey: 'anchor.key',
  state: 'state',
} as const;

/** Names inside the folder of a token, which lies in that of whoever uses it. */
export const tokenFiles = {
  directory: 'token',
  pin: 'pin',
  soPin: 'so.pin',
  softhsm: 'softhsm',
  softhsmConfig: 'softhsm2.conf',
  seeds: 'seeds',
} as const;

/** Longest path that every system takes for a unix socket (sun_path of macOS is 104 bytes). */
export const socketPathBytesMax = 103;

export function layoutOf(root: string): MeshLayout {
  const memberDirectory = ({ id, kind }: { id: string; kind: string }): string =>
    join(root, kind === 'operator' ? 'operators' : 'agents', id);
  const serviceDirectory = (layer: LayerNumber): string =>
    join(root, 'services', `${layer}-${layerNames[layer]}`);
  return {
    root,
    meshFile: join(root, 'mesh.json'),
    bundleFile: join(root, 'trust', 'bundle.json'),
    adminSeedFile: join(root, 'admin', 'nkey.seed'),
    natsConfigFile: join(root, 'nats', 'nats-server.conf'),
    natsStoreDirectory: join(root, 'nats', 'jetstream'),
    logsDirectory: join(root, 'logs'),
    runDirectory: join(root, 'run'),
    lockFile: join(root, 'run', 'supervisor.json'),
    processesFile: join(root, 'run', 'processes.json'),
    tokenDirectory: join(root, 'agents', 'signer', tokenFiles.directory),
    rootTokenDirectory: join(serviceDirectory(4), tokenFiles.directory),
    memberDirectory,
    configFile: (member) => join(memberDirectory(member), memberFiles.config),
    logFile: (processId) => join(root, 'logs', `${processId}.log`),
    keyServiceSocket: (agentId) => join(root, 'run', `${agentId}.sock`),
    serviceDirectory,
    serviceConfigFile: (layer) => join(serviceDirectory(layer), memberFiles.config),
    serviceSocket: (layer) => join(root, 'run', `${layerNames[layer]}.sock`),
    peerSocket: (layer, peer) => join(root, 'run', 'peers', `${layer}-${peer}`, 'service.sock'),
    controlSocket: (layer) => join(root, 'run', `${layerNames[layer]}.control.sock`),
  };
}

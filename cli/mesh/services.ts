/**
 * The services of a mesh whose layers do not hold their keys themselves: one process for each layer,
 * beside its agent. Their configuration is made with the mesh; the sockets lie in its run folder.
 */
import { relative, join } from 'node:path';
import { layerNames, layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { peersServed, type ServiceConfig, type ServiceToken } from '#schemas/service.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { createFile, makeDirectory } from './durable-files.ts';
import { memberFiles, type MeshLayout } from './layout.ts';
import type { ProcessSpec } from './supervised-process.ts';
import { prepareRootToken, rootTokenConfig, type TokenChoice } from './token-setup.ts';
import { projectRoot } from './tools.ts';

/** Uses of an old key within this span keep it from being retired; as for keys in an agent. */
const recentUseMs = 1_000;

/** How clients on this machine call the network service; the signer certifies no other names. */
export const networkNames = ['localhost', '127.0.0.1'] as const;

/** The name of a layer's service among the processes of a mesh. */
export function serviceId(layer: LayerNumber): string {
  return `${layerNames[layer]}-service`;
}

/** What the services are made from; layer 4 has a token of its own, where there are any. */
export async function makeServices(
  crypto: CryptoProvider,
  layout: MeshLayout,
  choice: TokenChoice,
): Promise<void> {
  if (choice.kind === 'file') return writeServiceConfigs(layout);
  await writeServiceConfigs(layout, rootTokenConfig(choice.libraryPath));
  await prepareRootToken(crypto, layout.rootTokenDirectory, choice.libraryPath);
}

/** `token`: where layer 4 has its root KEK; in a file of its own without one. */
export async function writeServiceConfigs(layout: MeshLayout, token?: ServiceToken): Promise<void> {
  await makeDirectory(join(layout.root, 'services'));
  for (const layer of layerNumbers) {
    await makeDirectory(layout.serviceDirectory(layer));
    const own = configOf(layout, layer);
    const content = layer === 4 && token !== undefined ? { ...own, token } : own;
    const config = `${JSON.stringify(content, null, 2)}\n`;
    await createFile(layout.serviceConfigFile(layer), config);
  }
}

/** All that they open. */
export function serviceSocketsOf(layout: MeshLayout): string[] {
  return layerNumbers.flatMap((layer) => [
    layout.serviceSocket(layer),
    layout.controlSocket(layer),
    ...(peersServed[layer] ?? []).map((peer) => layout.peerSocket(layer, peer)),
  ]);
}

/** How a layer's service is started. */
export function serviceSpec(
  layout: MeshLayout,
  layer: LayerNumber,
  listensOn?: number,
): ProcessSpec {
  const folder = `${layer}-${layerNames[layer]}`;
  const main = join(projectRoot, 'agents', 'layers', folder, 'service-main.ts');
  return {
    id: serviceId(layer),
    command: process.execPath,
    arguments: ['--disable-warning=ExperimentalWarning', main, layout.serviceConfigFile(layer)],
    logFile: layout.logFile(serviceId(layer)),
    saysReady: true,
    ...(listensOn === undefined ? {} : { listensOn }),
  };
}

function configOf(layout: MeshLayout, layer: LayerNumber): ServiceConfig {
  const from = (path: string): string => relative(layout.serviceDirectory(layer), path);
  const others = layerNumbers.filter((other) => other !== layer);
  const served = (by: LayerNumber): readonly LayerNumber[] => peersServed[by] ?? [];
  const socketAt = (other: LayerNumber): string =>
    served(other).includes(layer) ? layout.peerSocket(other, layer) : layout.serviceSocket(other);
  return {
    layer,
    stateDirectory: memberFiles.state,
    serviceSocket: from(layout.serviceSocket(layer)),
    controlSocket: from(layout.controlSocket(layer)),
    peerSockets: Object.fromEntries(
      served(layer).map((peer) => [String(peer), from(layout.peerSocket(layer, peer))]),
    ),
    peers: Object.fromEntries(others.map((other) => [String(other), from(socketAt(other))])),
    ...(layer === 3 ? { listen: { host: '127.0.0.1', port: 0, names: [...networkNames] } } : {}),
    recentUseMs,
  };
}

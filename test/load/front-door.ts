/** A client of a mesh whose layers are services: through layer 3's listener, under the mesh's own roots. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TlsClient } from '#agents/layers/service/tls-client.ts';
import { memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';
import { until } from '../support/patience.ts';

/** For the whole of one try; a machine on which everything starts anew at once is slow. */
const timeoutMs = 20_000;

/** Until it is certified, the service has an authority of its own, which no client should pin. */
export async function certified(layout: MeshLayout): Promise<void> {
  const authorityOf = (): string => new X509Certificate(listeningAt(layout).roots).subject;
  await until(
    authorityOf,
    (name) => name.endsWith(' certificate authority'),
    'layer 3 is certified',
  );
}

export function frontDoor(layout: MeshLayout): TlsClient {
  return new TlsClient({ ...listeningAt(layout), timeoutMs });
}

/** Where layer 3 listens, and the certificates that its own have to be under. */
export function listeningAt(layout: MeshLayout): { host: string; port: number; roots: string } {
  const state = join(layout.serviceDirectory(3), memberFiles.state);
  const listening: { host: string; port: number } = JSON.parse(
    readFileSync(join(state, 'listening'), 'utf8'),
  );
  return { ...listening, roots: readFileSync(join(state, 'roots.pem'), 'utf8') };
}

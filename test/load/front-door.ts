/** A client of a mesh whose layers are services: through layer 3's listener, under the mesh's own roots. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TlsClient } from '#agents/layers/service/tls-client.ts';
import { memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';

/** For the whole of one try; a machine on which everything starts anew at once is slow. */
const timeoutMs = 20_000;

export function frontDoor(layout: MeshLayout): TlsClient {
  const state = join(layout.serviceDirectory(3), memberFiles.state);
  const listening: { host: string; port: number } = JSON.parse(
    readFileSync(join(state, 'listening'), 'utf8'),
  );
  const roots = readFileSync(join(state, 'roots.pem'), 'utf8');
  return new TlsClient({ ...listening, roots, timeoutMs });
}

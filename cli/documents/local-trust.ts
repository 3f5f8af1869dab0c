/**
 * What an operator's machine knows of trust without a bus: the genesis bundle against the pinned root,
 * and the documents that this operator's last session adopted; and the keys that it signs with.
 */
import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { openTrust, type TrustView } from '#shared/crypto/trust.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { TrustStateError, TrustStore } from '#shared/runtime/trust-store.ts';
import type { Context } from '../context.ts';
import { CliFault, usageFault } from '../fault.ts';
import { systemErrorCode } from '../mesh/durable-files.ts';
import { memberFiles } from '../mesh/layout.ts';
import { requireMesh } from '../mesh/mesh-file.ts';
import type { OperatorKeys } from './signing.ts';

export interface LocalTrust {
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
}

/** @throws CliFault MESH_NOT_FOUND, the code of what is refused, SECRET_UNREADABLE */
export async function localTrust({ layout, operatorId }: Context): Promise<LocalTrust> {
  const mesh = await requireMesh(layout.root);
  requireOperator(mesh.operators, operatorId);
  const crypto = createNativeProvider();
  const bundle: unknown = JSON.parse((await readOwn(layout.bundleFile)).toString('utf8'));
  const opened = openTrust(crypto, { bundle, rootDigest: mesh.rootDigest });
  if (opened.status !== 'ok') {
    throw new CliFault({
      code: opened.code,
      reason: opened.reason,
      hint: `Restore ${layout.bundleFile} of this mesh.`,
    });
  }
  const { trust } = opened;
  const directory = join(memberFolder({ layout, operatorId }), memberFiles.state);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    TrustStore.open({ disk: new SystemDisk(directory), crypto, trust });
  } catch (error) {
    if (!(error instanceof TrustStateError)) throw error;
    throw new CliFault({
      code: error.code,
      reason: error.message,
      hint: `Move ${error.file} away; the next session learns the documents of the mesh anew.`,
      cause: error,
    });
  }
  return { crypto, trust };
}

/** @throws CliFault SECRET_UNREADABLE */
export async function operatorKeys(
  { layout, operatorId }: Pick<Context, 'layout' | 'operatorId'>,
  crypto: CryptoProvider,
  { withAnchor }: { readonly withAnchor: boolean },
): Promise<OperatorKeys> {
  const folder = memberFolder({ layout, operatorId });
  const seed = await readOwn(join(folder, memberFiles.identitySeed));
  const identity = crypto.importSigningSeed(seed);
  seed.fill(0);
  if (!withAnchor) return { identity };
  const secret = await readOwn(join(folder, memberFiles.anchorKey));
  const anchor = crypto.importSlhDsaSecret(secret);
  secret.fill(0);
  return { identity, anchor };
}

function requireOperator(operators: readonly string[], operatorId: string): void {
  if (operators.includes(operatorId)) return;
  throw usageFault(
    `there is no operator ${operatorId}`,
    `Operators of this mesh: ${operators.join(', ')}; name one with --as.`,
  );
}

function memberFolder({ layout, operatorId }: Pick<Context, 'layout' | 'operatorId'>): string {
  return dirname(layout.configFile({ id: operatorId, kind: 'operator' }));
}

async function readOwn(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new CliFault({
      code: 'SECRET_UNREADABLE',
      reason: `${path} cannot be read (${systemErrorCode(cause) ?? 'unknown'})`,
      hint: 'Restore the file, or act as another operator with --as.',
      cause,
    });
  }
}

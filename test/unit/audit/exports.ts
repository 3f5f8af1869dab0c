/** Exports in memory: written, taken apart, tampered with, checked. */

import type { AuditCheckpoint } from '#schemas/plan.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { AuditVerdict } from '#shared/core/audit-verdict.ts';
import { AuditTree } from '#shared/core/audit-tree.ts';
import { auditLeafHash } from '#shared/crypto/audit-leaf.ts';
import { writeExport } from '#shared/crypto/audit-export.ts';
import { verifyAuditFile } from '#shared/crypto/audit-verify.ts';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import { parseFrame, type ParsedFrame } from '#shared/crypto/envelope.ts';
import { localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import { crypto, type World } from '../../support/world.ts';

export interface Material {
  readonly world: World;
  readonly records: readonly AuditRecord[];
  readonly checkpoints: readonly AuditCheckpoint[];
}

export async function fileOf({ world, records, checkpoints }: Material): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const input = {
    auditor: 'auditor',
    mesh: world.mesh,
    bundle: world.bundle,
    records,
    checkpoints: () => checkpoints,
  };
  for await (const part of writeExport(input)) parts.push(part);
  return concat(...parts);
}

export function check(file: Uint8Array, rootDigest: string, chunkBytes = file.length) {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < file.length; at += chunkBytes) {
    chunks.push(file.subarray(at, at + chunkBytes));
  }
  const addressesOf = (mesh: string) => {
    const subjects = subjectsOf(mesh);
    return (subject: string) => subjects.parse(subject);
  };
  return verifyAuditFile(crypto, { chunks, rootDigest, addressesOf });
}

export async function checkMaterial(material: Material): Promise<AuditVerdict> {
  return check(await fileOf(material), material.world.rootDigest);
}

/** Records numbered by their place, as somebody would who hides a change. */
export function renumbered(records: readonly AuditRecord[]): AuditRecord[] {
  return records.map((record, leafIndex) => ({ ...record, leafIndex }));
}

/** A checkpoint that the audit key really signed over these records. */
export async function checkpointOver(
  world: World,
  records: readonly AuditRecord[],
): Promise<AuditCheckpoint> {
  const tree = new AuditTree((bytes) => crypto.sha256(bytes));
  for (const { frame, verdict } of records) {
    tree.append(auditLeafHash(crypto, parsed(frame), verdict));
  }
  const key = world.keys.get('audit');
  if (key === undefined) throw new Error('no audit key');
  const body = {
    kind: 'audit_checkpoint' as const,
    mesh: world.mesh,
    auditor: 'auditor',
    tree_size: records.length,
    root_hash: toHex(tree.root()),
    issued_at: '2026-01-01T00:00:00.000Z',
  };
  return signDocument(body, [localSigner(crypto, key)]);
}

export function parsed(frame: Uint8Array): ParsedFrame {
  const result = parseFrame(frame);
  if (!result.ok) throw new Error(result.code);
  return result.frame;
}

/** The index of the first record of a type. */
export function indexOf(records: readonly AuditRecord[], type: string, nth = 0): number {
  const found = records.flatMap(({ frame }, index) =>
    parsed(frame).header.type === type ? [index] : [],
  );
  const index = found[nth];
  if (index === undefined) throw new Error(`no ${type}`);
  return index;
}

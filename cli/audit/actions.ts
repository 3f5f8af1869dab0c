/**
 * The audit out of the mesh and under the magnifier: export writes the auditor's whole log, up to a
 * checkpoint made for it, into one file; verification takes that file, or the auditor's answers, and
 * needs nothing but the digest of the root. It trusts neither the auditor nor the bus.
 */
import { createReadStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { AuditCheckpoint } from '#schemas/plan.ts';
import { CheckpointIssued } from '#schemas/events.ts';
import { AuditRecords, type AuditRecord } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { AuditVerdict } from '#shared/core/audit-verdict.ts';
import { writeExport } from '#shared/crypto/audit-export.ts';
import {
  AuditVerifier,
  openVerifier,
  verifyAuditFile,
  type AddressesOf,
} from '#shared/crypto/audit-verify.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { CliFault, fileFault } from '../fault.ts';
import { secretMode, syncDirectory, systemErrorCode } from '../mesh/durable-files.ts';
import type { OperatorSession } from '../operator-session.ts';

export interface Exported {
  readonly file: string;
  readonly bytes: number;
  readonly records: number;
  readonly rootDigest: string;
  /** Head that the checkpoint states. */
  readonly rootHash: string;
}

type Progress = (line: string) => void;

const recordsCheck = compile(AuditRecords);
const checkpointCheck = compile(CheckpointIssued);
const pageRecordsMax = 256;
const progressEvery = 1_000;

const addressesOf: AddressesOf = (mesh) => {
  const subjects = subjectsOf(mesh);
  return (subject) => subjects.parse(subject);
};

/** Writes the log to `file`, whole or not at all. */
export async function exportAudit(
  session: OperatorSession,
  file: string,
  onProgress: Progress,
): Promise<Exported> {
  const target = resolve(file);
  const temporary = `${target}.${process.pid}.part`;
  const { checkpoint } = await askCheckpoint(session);
  const { tree_size: records, root_hash: rootHash } = checkpoint.body;
  const { trust } = session;
  let bytes = 0;
  try {
    const output = await open(temporary, 'w', secretMode);
    try {
      const pieces = writeExport({
        auditor: checkpoint.body.auditor,
        mesh: trust.mesh,
        bundle: trust.bundle,
        records: readRecords(session, records, onProgress),
        checkpoints: () => [checkpoint],
      });
      for await (const piece of pieces) {
        await output.writeFile(piece);
        bytes += piece.length;
      }
      await output.sync();
    } finally {
      await output.close();
    }
    await rename(temporary, target);
    await syncDirectory(dirname(target));
  } catch (error) {
    await removeBegun(temporary);
    throw exportFault(error, target);
  }
  return { file: target, bytes, records, rootDigest: trust.rootDigest, rootHash };
}

/** A fault of the file is told of the file that was asked for; any other stays what it is. */
export function exportFault(error: unknown, target: string): unknown {
  const code = systemErrorCode(error);
  if (code === undefined || !(error instanceof Error) || !('syscall' in error)) return error;
  const folderIsMissing = code === 'ENOENT' || code === 'ENOTDIR';
  return new CliFault({
    code,
    reason: `${target} cannot be written: ${folderIsMissing ? `there is no folder ${dirname(target)}` : code}`,
    hint: folderIsMissing
      ? 'Make the folder first, or name another file with --out.'
      : 'Name another file with --out, or see that this one may be written and has room.',
    cause: error,
  });
}

/** Checks an export: no bus, no secret, no clock. */
export async function verifyFile(file: string, rootDigest: string): Promise<AuditVerdict> {
  const chunks = createReadStream(file, { highWaterMark: 1024 * 1024 });
  try {
    return await verifyAuditFile(createNativeProvider(), { chunks, rootDigest, addressesOf });
  } catch (error) {
    const code = systemErrorCode(error);
    throw code === undefined ? error : fileFault(file, code, error);
  }
}

/** Checks what the auditor answers now, up to a checkpoint that is made for it. */
export async function verifyMesh(
  session: OperatorSession,
  rootDigest: string,
  onProgress: Progress,
  onRecord: (record: AuditRecord) => void = () => undefined,
): Promise<AuditVerdict> {
  const { checkpoint } = await askCheckpoint(session);
  const { auditor, tree_size: records } = checkpoint.body;
  const { bundle } = session.trust;
  const verifier = openVerifier(session.crypto, { bundle, auditor, rootDigest, addressesOf });
  if (!(verifier instanceof AuditVerifier)) {
    throw new CliFault({
      code: verifier.code,
      reason: verifier.reason,
      hint: 'Compare --root with the root digest that gyre status prints.',
    });
  }
  for await (const record of readRecords(session, records, onProgress)) {
    verifier.add(record);
    onRecord(record);
  }
  verifier.checkpoint(checkpoint);
  return verifier.finish();
}

/** Nothing was begun where there is no folder for it. */
async function removeBegun(temporary: string): Promise<void> {
  try {
    await rm(temporary, { force: true });
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOTDIR') throw error;
  }
}

async function askCheckpoint(
  session: OperatorSession,
): Promise<{ readonly checkpoint: AuditCheckpoint }> {
  return session.askAgent(session.agentOf('auditor'), { ask: 'audit-checkpoint' }, checkpointCheck);
}

/** The auditor's records from leaf 0, as many as `count`. */
async function* readRecords(
  session: OperatorSession,
  count: number,
  onProgress: Progress,
): AsyncGenerator<AuditRecord> {
  const auditor = session.agentOf('auditor');
  for (let from = 0; from < count;) {
    const recordsMax = Math.min(pageRecordsMax, count - from);
    const query = { ask: 'audit-records', from, recordsMax } as const;
    const page = await session.askAgent(auditor, query, recordsCheck);
    if (page.records.length === 0) {
      throw new CliFault({
        code: 'RECORDS_MISSING',
        reason: `the auditor stated ${count} records and gives only ${from}`,
        hint: 'Look into the log of the auditor; its store may be damaged.',
      });
    }
    yield* page.records;
    const next = from + page.records.length;
    if (Math.floor(next / progressEvery) > Math.floor(from / progressEvery)) {
      onProgress(`${next} of ${count} records`);
    }
    from = next;
  }
}

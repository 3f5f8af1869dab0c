/**
 * What must outlive a crash about checkpoints: the last one that the signer signed, and the size that
 * was asked for and not answered yet. One small JSON file, replaced as a whole.
 */

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { AuditCheckpoint } from '#schemas/plan.ts';
import { StrictObject, Type, Uint, compile, type Static } from '#schemas/primitives.ts';
import { AuditLogError, isDiskFull } from './log-file.ts';

const CheckpointState = StrictObject({
  checkpoint: Type.Optional(AuditCheckpoint),
  /** Tree size of a request whose answer is unknown. */
  askedSize: Type.Optional(Uint()),
});
export type CheckpointState = Static<typeof CheckpointState>;

const stateCheck = compile(CheckpointState);

/** @throws AuditLogError AUDIT_LOG_DAMAGED */
export function readCheckpointState(file: string): CheckpointState {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw error;
  }
  const state = parse(text);
  if (stateCheck.check(state)) return state;
  throw new AuditLogError('AUDIT_LOG_DAMAGED', `${file} is no checkpoint file`);
}

/** @throws AuditLogError AUDIT_DISK_FULL: the file is as it was */
export function writeCheckpointState(file: string, state: CheckpointState): void {
  const fresh = `${file}.new`;
  try {
    const handle = openSync(fresh, 'w', 0o600);
    try {
      writeFileSync(handle, JSON.stringify(state));
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(fresh, file);
    const folder = openSync(path.dirname(file), 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch (cause) {
    if (!isDiskFull(cause)) throw cause;
    throw new AuditLogError('AUDIT_DISK_FULL', 'no room for the checkpoint', { cause });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * What must outlive a crash about checkpoints: the last one that the signer signed, and the size that
 * was asked for and not answered yet. One small JSON file, `checkpoint.json`, replaced as a whole.
 */

import { AuditCheckpoint } from '#schemas/plan.ts';
import { StrictObject, Type, Uint, compile, type Static } from '#schemas/primitives.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { AuditLogError, isDiskFull } from './log-error.ts';

const CheckpointState = StrictObject({
  checkpoint: Type.Optional(AuditCheckpoint),
  /** Tree size of a request whose answer is unknown. */
  askedSize: Type.Optional(Uint()),
});
export type CheckpointState = Static<typeof CheckpointState>;

const stateCheck = compile(CheckpointState);

const name = 'checkpoint.json';

/** @throws AuditLogError AUDIT_LOG_DAMAGED */
export function readCheckpointState(disk: Disk): CheckpointState {
  const content = disk.readFile(name);
  if (content === undefined) return {};
  const state = parse(Buffer.from(content).toString('utf8'));
  if (stateCheck.check(state)) return state;
  throw new AuditLogError('AUDIT_LOG_DAMAGED', `${disk.place(name)} is no checkpoint file`);
}

/** @throws AuditLogError AUDIT_DISK_FULL: the file is as it was */
export function writeCheckpointState(disk: Disk, state: CheckpointState): void {
  try {
    disk.replaceFile(name, utf8(JSON.stringify(state)));
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

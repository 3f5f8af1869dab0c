/**
 * The file under the auditor's log, as a port: positioned reads and writes, a barrier, a cut. The
 * real one is a node:fs handle; a test puts a disk that is full or that forgets in its place.
 */

import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface LogFile {
  /** Bytes that the file has. */
  size(): Promise<number>;
  /** At most `length` bytes from `position`; fewer only at the end of the file. */
  read(position: number, length: number): Promise<Uint8Array>;
  /** All of `bytes` at `position`, or an error; how much was written is then unknown. */
  write(position: number, bytes: Uint8Array): Promise<void>;
  /** Resolves when everything written is on the disk. */
  sync(): Promise<void>;
  /** Cuts the file to `size` bytes. */
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export type AuditLogErrorCode =
  /** A record that is there does not check, or one that must be there is not. */
  | 'AUDIT_LOG_DAMAGED'
  /** The log cannot be judged again: what an event said is sealed under an epoch that is over. */
  | 'AUDIT_CONTENT_GONE'
  /** The disk took nothing: the log is as it was before. */
  | 'AUDIT_DISK_FULL'
  /** A write or barrier failed in a way that leaves the file's state unknown: stop and start anew. */
  | 'AUDIT_LOG_UNWRITABLE';

/** The one error class of the auditor's log. `position` is the byte offset, where there is one. */
export class AuditLogError extends Error {
  override readonly name = 'AuditLogError';
  readonly code: AuditLogErrorCode;
  readonly position: number | undefined;

  constructor(
    code: AuditLogErrorCode,
    message: string,
    { position, cause }: { readonly position?: number; readonly cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.position = position;
  }
}

/** Opens the file, or makes it (mode 0600) and its entry in the folder durable. */
export async function openLogFile(path: string): Promise<LogFile> {
  const handle = await openOrCreate(path);
  return {
    size: async () => (await handle.stat()).size,
    read: async (position, length) => {
      const buffer = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await handle.read(buffer, filled, length - filled, position + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return buffer.subarray(0, filled);
    },
    write: async (position, bytes) => {
      let written = 0;
      while (written < bytes.length) {
        const { bytesWritten } = await handle.write(
          bytes,
          written,
          bytes.length - written,
          position + written,
        );
        written += bytesWritten;
      }
    },
    sync: () => handle.datasync(),
    truncate: (size) => handle.truncate(size),
    close: () => handle.close(),
  };
}

/** Whether an error of the file system says that there is no room left. */
export function isDiskFull(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
}

async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  const handle = await open(path, 'wx+', 0o600);
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return handle;
}

/** The faults of the auditor's log, and what of the file system's means that there is no room. */

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

/** Whether an error of the file system says that there is no room left. */
export function isDiskFull(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
}

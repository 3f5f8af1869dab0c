/**
 * Faults of everything below, in the command line's form. Codes decide, never texts. What is not
 * known here is a mistake of the program and says so.
 */
import { BootError } from '#shared/runtime/boot.ts';
import { BusError, type BusErrorCode } from '#shared/bus/bus.ts';
import { TokenError } from '#shared/runtime/token/token.ts';
import { CliFault, exitCodes, type ExitCode } from './fault.ts';
import { systemErrorCode } from './mesh/durable-files.ts';
import { tokenFault } from './mesh/token-setup.ts';

const busHints: Readonly<Record<BusErrorCode, { exitCode: ExitCode; hint: string }>> = {
  BUS_UNREACHABLE: unreachable(
    'See what runs: gyre status; a mesh that is down starts with gyre up --detach.',
  ),
  BUS_TIMEOUT: unreachable('Try again; gyre status shows which processes run.'),
  BUS_NO_RESPONDER: unreachable('The agent is not there; gyre status shows which processes run.'),
  BUS_CLOSED: unreachable('Try again.'),
  BUS_DENIED: failed('The nats-server does not know this operator; start the mesh again: gyre up.'),
  BUS_REJECTED: failed('Look into the logs of the mesh; gyre status shows their folder.'),
  BUS_FULL: failed('The stream is full; give its disk more room.'),
  BUS_SERVER_TOO_OLD: failed('Run make setup, or name a newer nats-server in NATS_SERVER.'),
};

export function translateFault(error: unknown): CliFault {
  if (error instanceof CliFault) return error;
  if (error instanceof TokenError) return tokenFault(error);
  if (error instanceof BusError) {
    const { code, message: reason } = error;
    return new CliFault({ code, reason, ...busHints[code], cause: error });
  }
  if (error instanceof BootError) {
    const { code, message: reason, remedy: hint } = error;
    return new CliFault({ code, reason, hint, cause: error });
  }
  return systemFault(error);
}

function systemFault(error: unknown): CliFault {
  const message = error instanceof Error ? error.message : String(error);
  const code = systemErrorCode(error);
  // Node begins the message with the code, which a fault prints anyway.
  const reason = message.startsWith(`${code}: `) ? message.slice(`${code}: `.length) : message;
  const hint = code === undefined ? undefined : systemHints[code];
  if (code !== undefined && hint !== undefined) {
    return new CliFault({ code, reason, hint, cause: error });
  }
  return new CliFault({
    code: 'INTERNAL',
    reason,
    hint: 'This is a mistake of gyre; GYRE_DEBUG=1 shows where it happened.',
    cause: error,
  });
}

const systemHints: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: free some room, then try again.',
  EDQUOT: 'The disk quota is used up: free some room, then try again.',
  EACCES: 'Check the permissions of the folder, or choose another one.',
  EPERM: 'Check the permissions of the folder, or choose another one.',
  EROFS: 'The file system is read-only: choose another folder.',
  ENOENT: 'Check the path.',
  ENOTDIR: 'Check the path: a part of it is a file.',
  EISDIR: 'Check the path: it names a folder.',
  EMFILE: 'Too many files are open: raise the limit (ulimit -n).',
};

function unreachable(hint: string) {
  return { exitCode: exitCodes.unreachable, hint };
}

function failed(hint: string) {
  return { exitCode: exitCodes.failed, hint };
}

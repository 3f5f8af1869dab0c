/**
 * Faults of the NATS client and of the JetStream API, translated into `BusError` where they enter.
 * Decisions rest on classes and numeric codes, never on message texts.
 */
import { errors, RequestError } from '@nats-io/transport-node';
import { BusError } from './bus.ts';
import type { BusErrorCode } from './bus.ts';

/** Error codes of the JetStream API that something depends on. */
export const apiCodes = {
  consumerNotFound: 10014,
  insufficientResources: 10023,
  noMessageFound: 10037,
  storageExceeded: 10047,
  memoryExceeded: 10028,
  messageTooLarge: 10054,
  wrongLastSequence: 10071,
  /** The store refused: the stream is full, or the disk is. */
  storeFailed: 10077,
  /** Of a cluster: the same message is on its way into the stream from an earlier attempt. */
  duplicateUnderWay: 10158,
  wrongLastSequenceUnknown: 10164,
  /** Of a cluster: the leader's queue is full, and the message was dropped before it. */
  tooManyRequests: 10167,
} as const;

const fullCodes: ReadonlySet<number> = new Set([
  apiCodes.insufficientResources,
  apiCodes.storageExceeded,
  apiCodes.memoryExceeded,
  apiCodes.storeFailed,
]);

export const wrongSequenceCodes: ReadonlySet<number> = new Set([
  apiCodes.wrongLastSequence,
  apiCodes.wrongLastSequenceUnknown,
]);

/** What the API refused, by number. 503 means: not ready yet, ask again. */
export function apiFault(refusal: { readonly errCode: number; readonly status: number }): BusError {
  const { errCode, status } = refusal;
  if (fullCodes.has(errCode)) {
    return new BusError('BUS_FULL', `the bus has no room (JetStream error ${errCode})`);
  }
  if (errCode === apiCodes.duplicateUnderWay) {
    return new BusError('BUS_TIMEOUT', 'an earlier attempt is under way and not answered yet');
  }
  if (status === 503 || errCode === apiCodes.tooManyRequests) {
    return new BusError('BUS_NO_RESPONDER', `the bus is not ready (JetStream error ${errCode})`);
  }
  return new BusError('BUS_REJECTED', `the bus refused (JetStream error ${errCode})`);
}

/** Any fault of the client as a `BusError`. What is not a fault of the bus is thrown as it is. */
export function translate(error: unknown): BusError {
  if (error instanceof BusError) return error;
  const code = codeOf(
    error instanceof RequestError && error.cause !== undefined ? error.cause : error,
  );
  if (code === null) throw error;
  return new BusError(code, descriptions[code], error);
}

const descriptions: Readonly<Record<BusErrorCode, string>> = {
  BUS_UNREACHABLE: 'the bus cannot be reached',
  BUS_TIMEOUT: 'the bus did not answer in time',
  BUS_DENIED: 'the bus does not allow this to this agent',
  BUS_REJECTED: 'the bus refused',
  BUS_FULL: 'the bus has no room',
  BUS_CLOSED: 'the connection is closed',
  BUS_NO_RESPONDER: 'nobody answers on this subject',
  BUS_SERVER_TOO_OLD: 'the server is too old',
};

function codeOf(error: unknown): BusErrorCode | null {
  if (error instanceof errors.TimeoutError) return 'BUS_TIMEOUT';
  if (error instanceof errors.NoRespondersError) return 'BUS_NO_RESPONDER';
  if (
    error instanceof errors.PermissionViolationError ||
    error instanceof errors.AuthorizationError ||
    error instanceof errors.UserAuthenticationExpiredError
  ) {
    return 'BUS_DENIED';
  }
  if (
    error instanceof errors.ClosedConnectionError ||
    error instanceof errors.DrainingConnectionError
  ) {
    return 'BUS_CLOSED';
  }
  if (error instanceof errors.ConnectionError || error instanceof RequestError) {
    return 'BUS_UNREACHABLE';
  }
  if (
    error instanceof errors.InvalidArgumentError ||
    error instanceof errors.InvalidSubjectError ||
    error instanceof errors.ProtocolError
  ) {
    return 'BUS_REJECTED';
  }
  return isSystemError(error) ? 'BUS_UNREACHABLE' : null;
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && 'code' in error;
}

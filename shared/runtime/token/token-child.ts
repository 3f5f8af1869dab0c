/**
 * The process that holds one PKCS#11 token. A native call can neither be cancelled nor trusted not
 * to crash, so it happens here, where the signer can kill it: one process per token, one request at
 * a time. It lives as long as the channel to its parent and ends itself with SIGKILL when that
 * closes, because an orderly exit would wait for a library call that may never return.
 */
import assert from 'node:assert/strict';

import { detailCharactersMax, isRequest } from './child-messages.ts';
import type { Operation, Outcome, Request } from './child-messages.ts';
import { loadLibrary } from './pkcs11-library.ts';
import { NamedKeys } from './pkcs11-named-keys.ts';
import { Pkcs11Session, ensureWrappingKey } from './pkcs11-session.ts';
import { initialiseToken } from './pkcs11-slot.ts';
import { SeedKeys } from './seed-keys.ts';
import { TokenError } from './token.ts';
import { unwrapBytes, wrapBytes } from './wrapping.ts';

type OperationOf<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

interface OpenToken {
  label: string;
  session: Pkcs11Session;
  keys: SeedKeys;
}

let openToken: OpenToken | null = null;
/** Instead of it: a token whose keys go by name. */
let namedKeys: NamedKeys | null = null;
let lastRequest: Promise<void> = Promise.resolve();

process.umask(0o077);
// A terminal signals the whole group; the parent decides when its token goes.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.on('message', (message: unknown) => {
  assert(isRequest(message), 'the token child got a message that is no request');
  lastRequest = lastRequest.then(() => answer(message));
});

async function answer(request: Request): Promise<void> {
  let outcome: Outcome;
  try {
    outcome = await perform(request);
  } catch (error) {
    outcome = failure(error);
  }
  assert(process.send !== undefined, 'the token child has no parent');
  process.send({ id: request.id, ...outcome }, undefined, {}, () => wipe(outcome));
}

/** What went out in clear does not stay here. */
function wipe(outcome: Outcome): void {
  if (outcome.outcome === 'unwrapped') outcome.bytes.fill(0);
}

async function perform(operation: Operation): Promise<Outcome> {
  switch (operation.op) {
    case 'open':
      return open(operation);
    case 'open-keys':
      return openKeys(operation);
    case 'initialise':
    case 'prepare':
      return provision(operation);
    case 'generate': {
      const publicKey = await requireOpen().keys.generate(operation.keyName);
      return { outcome: 'public-key', publicKey };
    }
    case 'public-key': {
      const publicKey = await requireOpen().keys.publicKey(operation.keyName);
      return { outcome: 'public-key', publicKey };
    }
    case 'sign': {
      const { keyName, message, context } = operation;
      const signature = await requireOpen().keys.sign(keyName, message, context);
      return { outcome: 'signature', signature };
    }
    case 'wrap': {
      const { session, label } = requireOpen();
      try {
        return { outcome: 'wrapped', wrapped: await wrapBytes(session.wrapper, label, operation) };
      } finally {
        operation.bytes.fill(0);
      }
    }
    case 'unwrap': {
      const { session, label } = requireOpen();
      return { outcome: 'unwrapped', bytes: await unwrapBytes(session.wrapper, label, operation) };
    }
    case 'make-key':
    case 'key-wrap':
    case 'key-unwrap':
    case 'destroy-key':
      return performWithKeys(requireKeys(), operation);
    case 'close':
      openToken?.session.close();
      namedKeys?.close();
      [openToken, namedKeys] = [null, null];
      return { outcome: 'closed' };
  }
}

async function performWithKeys(
  keys: NamedKeys,
  operation: OperationOf<'make-key' | 'key-wrap' | 'key-unwrap' | 'destroy-key'>,
): Promise<Outcome> {
  switch (operation.op) {
    case 'make-key':
      return { outcome: 'key', keyId: keys.make(operation.keyName) };
    case 'key-wrap': {
      const { key, bytes, purpose } = operation;
      try {
        return { outcome: 'wrapped', wrapped: await keys.wrap(key, bytes, purpose) };
      } finally {
        bytes.fill(0);
      }
    }
    case 'key-unwrap': {
      const { key, wrapped, purpose } = operation;
      return { outcome: 'unwrapped', bytes: await keys.unwrap(key, wrapped, purpose) };
    }
    case 'destroy-key':
      keys.destroy(operation.keyName);
      return { outcome: 'destroyed' };
  }
}

async function open(operation: OperationOf<'open'>): Promise<Outcome> {
  assert(openToken === null, 'the token child opens one token only');
  const { libraryPath, label, directory, pin } = operation;
  try {
    const session = Pkcs11Session.open(loadLibrary(libraryPath), label, text(pin));
    openToken = {
      label,
      session,
      keys: new SeedKeys({ directory, label, wrapper: session.wrapper }),
    };
    return { outcome: 'opened', info: session.info };
  } finally {
    pin.fill(0);
  }
}

async function openKeys({ libraryPath, label, pin }: OperationOf<'open-keys'>): Promise<Outcome> {
  assert(openToken === null && namedKeys === null, 'the token child opens one token only');
  try {
    namedKeys = NamedKeys.open(loadLibrary(libraryPath), label, text(pin));
    return { outcome: 'opened', info: namedKeys.info };
  } finally {
    pin.fill(0);
  }
}

async function provision(
  operation: OperationOf<'initialise'> | OperationOf<'prepare'>,
): Promise<Outcome> {
  const { libraryPath, label } = operation;
  const pin = text(operation.pin);
  operation.pin.fill(0);
  const library = loadLibrary(libraryPath);
  let changed = false;
  let wrappingKey = true;
  if (operation.op === 'initialise') {
    ({ wrappingKey } = operation);
    const soPin = text(operation.soPin);
    operation.soPin.fill(0);
    changed = initialiseToken(library, { label, soPin, pin });
  }
  if (wrappingKey) changed = ensureWrappingKey(library, label, pin) || changed;
  library.C_Finalize();
  return { outcome: 'provisioned', changed };
}

function requireKeys(): NamedKeys {
  assert(namedKeys !== null, 'the token child was asked to work before it was opened');
  return namedKeys;
}

function requireOpen(): OpenToken {
  assert(openToken !== null, 'the token child was asked to work before it was opened');
  return openToken;
}

/** The library takes PINs as strings only; this one dies with the process. */
function text(pin: Uint8Array): string {
  return Buffer.from(pin.buffer, pin.byteOffset, pin.byteLength).toString('utf8');
}

/** Token errors travel as code and text; anything else ends this process and is seen as its loss. */
function failure(error: unknown): Outcome {
  if (!(error instanceof TokenError)) throw error;
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
  const detail = `${error.detail}${cause}`.slice(0, detailCharactersMax);
  return { outcome: 'failed', code: error.code, detail };
}

/**
 * Where the root KEK is, from the configuration: opens the token that it names, makes sure that the
 * root KEK in use is there and does what it should, and says what a start without it would mean. A
 * service that is configured with a token never falls back to a file.
 */

import type { ServiceToken } from '#schemas/service.ts';
import { BootError } from '#shared/runtime/boot.ts';
import { openKeyToken } from '#shared/runtime/token/key-token.ts';
import { TokenError, tokenAdvice } from '#shared/runtime/token/token.ts';
import { AdapterError } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { KeyCustody, ServicePorts } from '../service/service.ts';
import { kekSlot, type KekShares } from './kek-shares.ts';
import { rootSlot, type RootKey } from './root-key.ts';
import { RootToken } from './root-token.ts';

const startTimeoutMs = 10_000;

/** One login attempt; undefined where no token is configured. @throws BootError */
export async function openRootToken(ports: ServicePorts): Promise<RootToken | undefined> {
  const { config, clock, crypto, log, resolve } = ports;
  if (config.token === undefined) return undefined;
  const { library, label, pinFile, softhsmConfig, timeoutMs }: ServiceToken = config.token;
  try {
    const token = await openKeyToken({
      libraryPath: library,
      label,
      pin: { path: resolve(pinFile) },
      ...(softhsmConfig === undefined ? {} : { env: { SOFTHSM2_CONF: resolve(softhsmConfig) } }),
      requestTimeoutMs: timeoutMs,
      startTimeoutMs,
      onEvent: (event) =>
        log[event.kind === 'child-lost' ? 'warn' : 'info']({ ...event }, 'token process'),
    });
    return new RootToken(token, crypto, clock);
  } catch (error) {
    throw bootFault(error);
  }
}

/**
 * The root KEK is there, it works, and every share that is whole is in memory, so that the token is
 * not needed to serve from here on. @throws BootError, AdapterError
 */
export async function requireRoot(
  parts: { readonly keys: EmbeddedAdapter; readonly root: RootKey; readonly shares: KekShares },
  token: RootToken | undefined,
): Promise<void> {
  const { keys, root, shares } = parts;
  if (token === undefined && root.inToken().length > 0) {
    const what = `${root.inToken().length} versions of ${rootSlot} are in a token`;
    throw new BootError('TOKEN_NOT_CONFIGURED', what, 'add `token` to the configuration again');
  }
  try {
    await keys.makeFirstKeys();
    if (token !== undefined) await requirePrimary(root, keys, token);
    await shares.reconcile();
    await shares.openAll();
  } catch (error) {
    throw bootFault(error);
  }
}

/**
 * What operators are told of it. `token` only where no copy of the disk has the root KEK, nor one from
 * before a share of a KEK that is there.
 */
export function custodyOf(
  { root, shares }: { readonly root: RootKey; readonly shares: KekShares },
  token: RootToken | undefined,
): KeyCustody {
  if (token === undefined) {
    return { kind: 'file', notice: 'in a file: a copy of the disk opens everything' };
  }
  if (root.inFile().length > 0) {
    return {
      kind: 'file',
      notice: `still in a file too: turn ${rootSlot}, then retire the old one`,
    };
  }
  if (shares.everInFile() > 0) {
    const what = `in a token, but earlier copies of the disk open what ${kekSlot} needs`;
    return { kind: 'file', notice: `${what}: turn ${kekSlot}, then retire the old one` };
  }
  const { label, notice } = token.describe();
  return { kind: 'token', notice: `in token ${label}, ${notice}` };
}

async function requirePrimary(
  root: RootKey,
  keys: EmbeddedAdapter,
  token: RootToken,
): Promise<void> {
  const primary = root.inToken().find(({ state }) => state === 'primary');
  const held = primary === undefined ? undefined : keys.heldElsewhere(primary);
  if (held === undefined || (await token.probe(held))) return;
  const { label } = token.describe();
  const what = `the token ${label} has no working key ${held.name} (version ${primary?.version} of ${rootSlot})`;
  const remedy = 'configure the token that the root KEK was made in, or restore it from its backup';
  throw new BootError('ROOT_KEY_MISSING', what, remedy);
}

/** A fault of the token with its code and what to do about it; others as they are. */
function bootFault(error: unknown): unknown {
  const fault = error instanceof AdapterError ? error.cause : error;
  if (!(fault instanceof TokenError)) return error;
  const { code, detail } = fault;
  const named = code === 'KEY_UNKNOWN' || code === 'WRAPPING_INVALID' || code === 'KEY_EXISTS';
  const remedy = tokenAdvice[code];
  return new BootError(named ? 'ROOT_KEY_MISSING' : code, detail, remedy, error);
}

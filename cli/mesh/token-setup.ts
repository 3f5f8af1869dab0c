/**
 * The tokens of a new mesh. The signer's: initialised, with the three role keys (orchestration, audit,
 * enrolment) made inside it; SoftHSM2 unless the file token was asked for by name. That of layer 4's
 * service: a SoftHSM2 token of its own, in which the service makes its root KEK at its first start.
 */
import { join } from 'node:path';
import type { TokenConfig } from '#schemas/config.ts';
import type { ServiceToken } from '#schemas/service.ts';
import { openFileToken } from '#shared/runtime/token/file-token.ts';
import { initialiseSoftHsmToken } from '#shared/runtime/token/pkcs11-provisioning.ts';
import { openPkcs11Token } from '#shared/runtime/token/pkcs11-token.ts';
import { TokenError, type KeyRole, type Token } from '#shared/runtime/token/token.ts';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { keyIdOf, type DocumentSigner } from '#shared/crypto/signed-document.ts';
import { CliFault } from '../fault.ts';
import { createFile, makeDirectory, replaceFile } from './durable-files.ts';
import { tokenFiles, type MeshLayout } from './layout.ts';

export type TokenChoice =
  { readonly kind: 'softhsm'; readonly libraryPath: string } | { readonly kind: 'file' };

export const keyRoles = ['orchestration', 'audit', 'enrolment'] as const satisfies KeyRole[];

export interface RoleKey {
  readonly keyId: string;
  readonly publicKey: Uint8Array;
}

export interface PreparedSigner {
  readonly token: Token;
  readonly keys: Readonly<Record<KeyRole, RoleKey>>;
}

const pinBytes = 16;
const tokenTimeoutMs = 5_000;
const rootTokenLabel = 'gyre-root';

/** Makes the token in the signer's folder of `layout`. The caller closes it. */
export async function prepareToken(
  crypto: CryptoProvider,
  layout: MeshLayout,
  { choice, label }: { readonly choice: TokenChoice; readonly label: string },
): Promise<PreparedSigner> {
  const directory = layout.tokenDirectory;
  const paths = pathsIn(directory);
  await makeDirectory(directory);
  await createFile(paths.pin, toHex(crypto.randomBytes(pinBytes)));
  try {
    const token = await openToken(choice, label, { crypto, directory });
    try {
      return { token, keys: await makeRoleKeys(crypto, token) };
    } catch (error) {
      await token.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof TokenError) throw tokenFault(error);
    throw error;
  }
}

/** The signer's configuration of the token, relative to the signer's folder. */
export function tokenConfig(choice: TokenChoice, label: string): TokenConfig {
  const paths = pathsIn(tokenFiles.directory);
  if (choice.kind === 'file') return { kind: 'file', directory: paths.seeds, pinFile: paths.pin };
  return {
    kind: 'pkcs11',
    library: choice.libraryPath,
    label,
    pinFile: paths.pin,
    directory: paths.seeds,
    softhsmConfig: paths.softhsmConfig,
    timeoutMs: tokenTimeoutMs,
  };
}

/** Makes layer 4's token in its folder, with PINs of its own and nothing in it yet. */
export async function prepareRootToken(
  crypto: CryptoProvider,
  directory: string,
  libraryPath: string,
): Promise<void> {
  const paths = pathsIn(directory);
  await makeDirectory(directory);
  await createFile(paths.pin, toHex(crypto.randomBytes(pinBytes)));
  await createFile(paths.soPin, toHex(crypto.randomBytes(pinBytes)));
  try {
    await initialiseSoftHsmToken({
      dir: paths.softhsm,
      label: rootTokenLabel,
      libraryPath,
      pin: { path: paths.pin },
      soPin: { path: paths.soPin },
      wrappingKey: false,
    });
  } catch (error) {
    throw error instanceof TokenError ? tokenFault(error) : error;
  }
}

/** The service's configuration of it, relative to the service's folder. */
export function rootTokenConfig(library: string): ServiceToken {
  const { pin: pinFile, softhsmConfig } = pathsIn(tokenFiles.directory);
  return { library, label: rootTokenLabel, pinFile, softhsmConfig, timeoutMs: tokenTimeoutMs };
}

/** SoftHSM2 knows its objects by an absolute path: says where they are once the mesh has its place. */
export async function settleTokens(
  building: MeshLayout,
  settled: MeshLayout,
  services: boolean,
): Promise<void> {
  await settleToken(building.tokenDirectory, settled.tokenDirectory);
  if (services) await settleToken(building.rootTokenDirectory, settled.rootTokenDirectory);
}

/** A role's key in the token as a signer of documents. */
export function roleSigner({ token, keys }: PreparedSigner, role: KeyRole): DocumentSigner {
  return {
    keyId: keys[role].keyId,
    sign: (bytes, context) => token.sign(role, bytes, utf8(context)),
  };
}

/** A fault of the token in the command line's form. */
export function tokenFault(error: TokenError): CliFault {
  const { code, detail } = error;
  const hint = {
    TOKEN_LIBRARY_MISSING:
      'Run make setup (it needs python3, make and g++ for pkcs11js), or ask for the file token, which is not an HSM: --token file.',
    TOKEN_PIN_WRONG:
      'Correct the PIN file beside the token, then start again; the PIN is not tried twice, because wrong PINs lock a token.',
  }[code as string];
  return new CliFault({
    code,
    reason: detail,
    hint: hint ?? 'Run gyre doctor: it checks SoftHSM2 and the binding for it.',
    cause: error,
  });
}

async function settleToken(building: string, settled: string): Promise<void> {
  const { softhsmConfig } = pathsIn(building);
  const tokens = join(settled, tokenFiles.softhsm, 'tokens');
  const lines = [
    `directories.tokendir = ${tokens}`,
    'objectstore.backend = file',
    'log.level = ERROR',
    'slots.removable = false',
  ];
  await replaceFile(softhsmConfig, `${lines.join('\n')}\n`);
}

async function openToken(
  choice: TokenChoice,
  label: string,
  { crypto, directory }: { readonly crypto: CryptoProvider; readonly directory: string },
): Promise<Token> {
  const paths = pathsIn(directory);
  const pin = { path: paths.pin };
  if (choice.kind === 'file') return openFileToken({ label, directory: paths.seeds, pin });
  await createFile(paths.soPin, toHex(crypto.randomBytes(pinBytes)));
  const { libraryPath, env } = await initialiseSoftHsmToken({
    dir: paths.softhsm,
    label,
    libraryPath: choice.libraryPath,
    pin,
    soPin: { path: paths.soPin },
  });
  return openPkcs11Token({ libraryPath, label, directory: paths.seeds, pin, env });
}

async function makeRoleKeys(
  crypto: CryptoProvider,
  token: Token,
): Promise<Readonly<Record<KeyRole, RoleKey>>> {
  const make = async (role: KeyRole): Promise<RoleKey> => {
    const { publicKey } = await token.generateKey(role);
    return { keyId: keyIdOf(crypto, publicKey), publicKey };
  };
  return {
    orchestration: await make('orchestration'),
    audit: await make('audit'),
    enrolment: await make('enrolment'),
  };
}

function pathsIn(directory: string) {
  const softhsm = join(directory, tokenFiles.softhsm);
  return {
    pin: join(directory, tokenFiles.pin),
    soPin: join(directory, tokenFiles.soPin),
    softhsm,
    softhsmConfig: join(softhsm, tokenFiles.softhsmConfig),
    seeds: join(directory, tokenFiles.seeds),
  };
}

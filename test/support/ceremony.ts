/**
 * The root of a test mesh: operators' keys, anchors, the signer's keys, and the root document that they
 * sign. Hash-based signatures take more than a second each, so a ceremony is held once and kept in a
 * folder of the machine's temporary files for the processes and runs after it. The keys in it guard
 * nothing. `name` holds another ceremony: another root of a mesh with the same name.
 */

import { mkdirSync, readFileSync, renameSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RootDocument, rootCheck, type RootBody } from '#schemas/trust.ts';
import { fromBase64Url, toBase64Url, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import {
  localAnchor,
  localSigner,
  signDocument,
  type AnchorSigner,
} from '#shared/crypto/signed-document.ts';

const dayMs = 24 * 3_600_000;
/** A kept ceremony is held again while its documents have most of their time before them. */
const keptMs = dayMs;
const lockStaleMs = 60_000;

export interface CeremonyOptions {
  readonly mesh: string;
  readonly operators: readonly string[];
  readonly name?: string;
}

export interface Ceremony {
  readonly root: RootDocument;
  /** Of the roles that the signer holds, and of the operators, by name. */
  readonly keys: ReadonlyMap<string, SigningKey>;
  /** Of the operators, by name. */
  readonly anchors: ReadonlyMap<string, TestAnchor>;
}

export interface TestAnchor extends AnchorSigner {
  /** 64 bytes. */
  readonly publicKey: Uint8Array;
}

export const signerRoles = ['orchestration', 'audit', 'enrolment'] as const;

interface Kept {
  readonly seeds: Readonly<Record<string, string>>;
  readonly anchors: Readonly<Record<string, string>>;
  readonly root: RootDocument;
}

/** The keys are handles of the given provider. */
export async function holdCeremony(
  crypto: CryptoProvider,
  options: CeremonyOptions,
): Promise<Ceremony> {
  const folder = path.join(tmpdir(), `gyre-ceremonies-${userInfo().uid}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const about = JSON.stringify([options, RootDocument]);
  const file = path.join(folder, `${toHex(crypto.sha256(utf8(about))).slice(0, 32)}.json`);
  const lock = `${file}.lock`;
  for (;;) {
    const kept = read(file);
    if (kept !== undefined) return opened(crypto, kept);
    if (!isLocked(lock)) break;
    await sleep(50);
  }
  try {
    const kept = await hold(crypto, { ...options, nowMs: Date.now() });
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(kept), { mode: 0o600 });
    renameSync(`${file}.${process.pid}`, file);
    return opened(crypto, kept);
  } finally {
    rmdirSync(lock);
  }
}

/** Held anew and kept nowhere: for providers that sign in no time. */
export async function freshCeremony(
  crypto: CryptoProvider,
  options: Omit<CeremonyOptions, 'name'> & { readonly nowMs: number },
): Promise<Ceremony> {
  return opened(crypto, await hold(crypto, options));
}

/** A key pair that signs roots a second time. */
export function newAnchor(crypto: CryptoProvider): TestAnchor {
  return anchorOf(crypto, crypto.generateSlhDsaKey().secretKey);
}

export function anchorOf(crypto: CryptoProvider, secretKey: Uint8Array): TestAnchor {
  const publicKey = secretKey.slice(64);
  const signer = localAnchor(crypto, crypto.importSlhDsaSecret(secretKey), publicKey);
  return { ...signer, publicKey };
}

/** What a root says of its anchors. */
export function anchorsOf(anchors: readonly TestAnchor[], threshold = anchors.length) {
  return {
    keys: Object.fromEntries(
      anchors.map(({ keyId, publicKey }) => [
        keyId,
        { algorithm: 'SLH-DSA-SHAKE-256s' as const, public_key: toBase64Url(publicKey) },
      ]),
    ),
    threshold,
  };
}

/** What a root says of its ML-DSA-87 keys. */
export function keysOf(keys: readonly SigningKey[]): RootBody['keys'] {
  return Object.fromEntries(
    keys.map(({ publicKey }) => [
      publicKey.keyIdHex,
      { algorithm: 'ML-DSA-87', public_key: toBase64Url(publicKey.raw) },
    ]),
  );
}

async function hold(
  crypto: CryptoProvider,
  { mesh, operators, nowMs }: CeremonyOptions & { readonly nowMs: number },
): Promise<Kept> {
  const names = [...signerRoles, ...operators];
  const seeds = new Map(names.map((name) => [name, crypto.randomBytes(32)]));
  const secrets = new Map(operators.map((id) => [id, crypto.generateSlhDsaKey().secretKey]));
  const keys = new Map(Array.from(seeds, ([name, seed]) => [name, crypto.importSigningSeed(seed)]));
  const anchors = Array.from(secrets.values(), (secret) => anchorOf(crypto, secret));
  const signers = operators.map((id) => keyNamed(keys, id));
  const byOperators = {
    key_ids: signers.map(({ publicKey }) => publicKey.keyIdHex),
    threshold: operators.length,
  };
  const bySigner = (role: string) => ({
    key_ids: [keyNamed(keys, role).publicKey.keyIdHex],
    threshold: 1,
  });
  const body: RootBody = {
    kind: 'root',
    mesh,
    version: 1,
    issued_at: new Date(nowMs - 1000).toISOString(),
    expires_at: new Date(nowMs + 60 * dayMs).toISOString(),
    keys: keysOf([...keys.values()]),
    anchor: anchorsOf(anchors),
    roles: {
      root: byOperators,
      registry: byOperators,
      policy: byOperators,
      orchestration: bySigner('orchestration'),
      audit: bySigner('audit'),
      enrolment: bySigner('enrolment'),
    },
  };
  const root = await signDocument(
    body,
    signers.map((key) => localSigner(crypto, key)),
    anchors,
  );
  return { seeds: textsOf(seeds), anchors: textsOf(secrets), root };
}

function opened(crypto: CryptoProvider, { seeds, anchors, root }: Kept): Ceremony {
  return {
    root,
    keys: new Map(
      Object.entries(seeds).map(([name, text]) => [name, crypto.importSigningSeed(bytesOf(text))]),
    ),
    anchors: new Map(
      Object.entries(anchors).map(([id, text]) => [id, anchorOf(crypto, bytesOf(text))]),
    ),
  };
}

function read(file: string): Kept | undefined {
  try {
    const isFresh = statSync(file).mtimeMs > Date.now() - keptMs;
    const kept = isFresh ? (JSON.parse(readFileSync(file, 'utf8')) as Kept) : undefined;
    return kept !== undefined && rootCheck.check(kept.root) ? kept : undefined;
  } catch (fault) {
    if (codeOf(fault) === 'ENOENT') return undefined;
    throw fault;
  }
}

/** False for the one who takes the lock. */
function isLocked(lock: string): boolean {
  try {
    mkdirSync(lock);
    return false;
  } catch (fault) {
    if (codeOf(fault) !== 'EEXIST') throw fault;
  }
  try {
    if (statSync(lock).mtimeMs < Date.now() - lockStaleMs) rmdirSync(lock);
  } catch (fault) {
    if (codeOf(fault) !== 'ENOENT') throw fault;
  }
  return true;
}

function keyNamed(keys: ReadonlyMap<string, SigningKey>, name: string): SigningKey {
  const key = keys.get(name);
  if (key === undefined) throw new Error(`no key for ${name}`);
  return key;
}

function textsOf(secrets: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries(Array.from(secrets, ([name, bytes]) => [name, toBase64Url(bytes)]));
}

function bytesOf(text: string): Uint8Array {
  const bytes = fromBase64Url(text);
  if (bytes === undefined) throw new Error('the kept ceremony is damaged');
  return bytes;
}

function codeOf(fault: unknown): string | undefined {
  return fault instanceof Error && 'code' in fault && typeof fault.code === 'string'
    ? fault.code
    : undefined;
}

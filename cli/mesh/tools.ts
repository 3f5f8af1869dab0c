/**
 * What a mesh needs from the machine: a nats-server that is new enough and, unless the file token is
 * asked for, SoftHSM2 with the binding for it. Both are looked for where the environment names them,
 * where `make setup` found them, and on the PATH; a fault says how to get what is missing.
 */
import { execFile } from 'node:child_process';
import { access, constants, readFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { findSoftHsmLibrary } from '#shared/runtime/token/pkcs11-provisioning.ts';
import { CliFault } from '../fault.ts';
import { systemErrorCode } from './durable-files.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** From here on `sync_interval: always` covers the Raft logs too. */
export const natsServerVersionMin = '2.10.23';

export const projectRoot = resolve(import.meta.dirname, '../..');

const setupRecord = join(projectRoot, '.cache', 'setup', 'env');
const versionTimeoutMs = 5_000;
const run = promisify(execFile);

export interface NatsServer {
  readonly path: string;
  readonly version: string;
}

/** The environment, completed by what `make setup` found on this machine. */
export async function toolEnvironment(
  environment: Environment = process.env,
): Promise<Environment> {
  let text: string;
  try {
    text = await readFile(setupRecord, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return environment;
    throw error;
  }
  const { GYRE_NATS_SERVER, ...found } = parseSetupRecord(text);
  // A server that the caller names, by either name, comes before the one that was found.
  const isNamed = (environment['NATS_SERVER'] ?? '') !== '' || GYRE_NATS_SERVER === undefined;
  return { ...found, ...(isNamed ? {} : { GYRE_NATS_SERVER }), ...environment };
}

/** Lines of `export NAME='value'` with POSIX single quotes; anything else is skipped. */
export function parseSetupRecord(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const match = /^export ([A-Z_]+)='(.*)'$/.exec(line);
    const [, name, value] = match ?? [];
    if (name === undefined || value === undefined || value === '') continue;
    found[name] = value.replaceAll("'\\''", "'");
  }
  return found;
}

/** A nats-server that fits. The one that the environment names is never replaced by another. */
export async function findNatsServer(environment: Environment): Promise<NatsServer> {
  const named = environment['GYRE_NATS_SERVER'] ?? environment['NATS_SERVER'];
  if (named !== undefined && named !== '') {
    const server = await examine(named);
    if (server === null) throw missing(`${named} does not run as a nats-server`);
    if (!atLeast(server.version, natsServerVersionMin)) throw tooOld([server]);
    return server;
  }
  const refused: NatsServer[] = [];
  for (const path of await candidates(environment)) {
    const server = await examine(path);
    if (server === null) continue;
    if (atLeast(server.version, natsServerVersionMin)) return server;
    refused.push(server);
  }
  if (refused.length > 0) throw tooOld(refused);
  throw missing('there is no nats-server here');
}

/** Path of the SoftHSM2 library. The file token is never taken in its place by itself. */
export function requireSoftHsm(environment: Environment): string {
  const path = findSoftHsmLibrary(environment);
  if (path !== null) return path;
  throw new CliFault({
    code: 'TOKEN_LIBRARY_MISSING',
    reason: 'there is no SoftHSM2 on this machine',
    hint:
      'Install it (make setup does, or: apt-get install softhsm2, dnf install softhsm, brew install ' +
      'softhsm), name it in GYRE_SOFTHSM_LIB, or ask for the file token, which is not an HSM: --token file.',
  });
}

/** Whether version `have` is `needed` or newer, number by number. */
export function atLeast(have: string, needed: string): boolean {
  const [left, right] = [numbers(have), numbers(needed)];
  for (const [index, wanted] of right.entries()) {
    const found = left[index] ?? 0;
    if (found !== wanted) return found > wanted;
  }
  return true;
}

/** `2.15.1` of `nats-server: v2.15.1`, or null. */
export function parseNatsVersion(output: string): string | null {
  return /^nats-server: v?(\d+\.\d+\.\d+)/m.exec(output)?.[1] ?? null;
}

async function examine(path: string): Promise<NatsServer | null> {
  try {
    const { stdout } = await run(path, ['--version'], { timeout: versionTimeoutMs });
    const version = parseNatsVersion(stdout);
    return version === null ? null : { path, version };
  } catch {
    // Whatever does not answer is none; the caller says which ones were looked at.
    return null;
  }
}

async function candidates(environment: Environment): Promise<string[]> {
  const folders = (environment['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  const paths = [
    join(projectRoot, '.cache', 'nats-server', 'nats-server'),
    ...folders.map((folder) => join(folder, 'nats-server')),
  ];
  const present = await Promise.all(paths.map(isExecutable));
  return paths.filter((_, index) => present[index]);
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

function numbers(version: string): number[] {
  return version.split('.').map(Number);
}

const getNatsServer = `Run make setup, put a nats-server of ${natsServerVersionMin} or newer on the PATH, or name one in NATS_SERVER.`;

function tooOld(refused: readonly NatsServer[]): CliFault {
  const list = refused.map(({ path, version }) => `${path} is ${version}`).join(', ');
  return new CliFault({
    code: 'NATS_SERVER_TOO_OLD',
    reason: `nats-server ${natsServerVersionMin} or newer is needed: ${list}`,
    hint: getNatsServer,
  });
}

function missing(reason: string): CliFault {
  return new CliFault({ code: 'NATS_SERVER_MISSING', reason, hint: getNatsServer });
}

/**
 * What a mesh needs from this machine, one check each: a verdict, what was found, and what to do.
 * Checks look and change nothing.
 */
import { execFile } from 'node:child_process';
import { lstat, readdir, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { findSoftHsmLibrary } from '#shared/runtime/token/pkcs11-provisioning.ts';
import { CliFault } from '../fault.ts';
import { systemErrorCode } from '../mesh/durable-files.ts';
import type { MeshLayout } from '../mesh/layout.ts';
import type { MeshFile } from '../mesh/mesh-file.ts';
import { tryPort } from '../mesh/ports.ts';
import { readProcesses, runningSupervisor, stillRunning } from '../mesh/supervisor-record.ts';
import { atLeast, findNatsServer, projectRoot, type Environment } from '../mesh/tools.ts';
import { typed } from '../style.ts';

export type Verdict = 'ok' | 'warn' | 'fail';

export interface Finding {
  readonly check: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** What to do; absent where nothing is to be done. */
  readonly hint?: string;
}

const nodeVersionMin = '26.0.0';
const opensslVersionMin = '3.5.0';
const freeBytesMin = 256 * 1024 * 1024;
const freeBytesWanted = 2 * 1024 * 1024 * 1024;
const filesCheckedMax = 5_000;
const bindingTimeoutMs = 10_000;
const run = promisify(execFile);

export function checkNode(versions: Readonly<Record<string, string | undefined>>): Finding {
  const [node = '0', openssl = '0'] = [versions['node'], versions['openssl']];
  const found = `Node.js ${node}, OpenSSL ${openssl}`;
  const holds = atLeast(node, nodeVersionMin) && atLeast(openssl, opensslVersionMin);
  if (holds) return { check: 'node', verdict: 'ok', found };
  const hint = `Node.js ${nodeVersionMin} with OpenSSL ${opensslVersionMin} or newer is needed: make setup.`;
  return { check: 'node', verdict: 'fail', found, hint };
}

export async function checkNatsServer(environment: Environment): Promise<Finding> {
  const check = 'nats-server';
  try {
    const { path, version } = await findNatsServer(environment);
    return { check, verdict: 'ok', found: `${version} (${path})` };
  } catch (error) {
    if (!(error instanceof CliFault)) throw error;
    return { check, verdict: 'fail', found: error.reason, hint: error.hint };
  }
}

/** Loads the binding in a process of its own: a native module may take its process with it. */
export async function checkPkcs11Binding(): Promise<Finding> {
  const check = 'pkcs11js';
  try {
    const script = ['--input-type=module', '-e', 'await import("pkcs11js")'];
    await run(process.execPath, script, { cwd: projectRoot, timeout: bindingTimeoutMs });
    return { check, verdict: 'ok', found: 'the PKCS#11 binding loads' };
  } catch {
    return {
      check,
      verdict: 'warn',
      found: 'the PKCS#11 binding does not load',
      hint: 'It is compiled at installation: install python3, make and g++, then run make setup.',
    };
  }
}

export function checkSoftHsm(environment: Environment): Finding {
  const path = findSoftHsmLibrary(environment);
  if (path !== null) return { check: 'softhsm2', verdict: 'ok', found: path };
  return {
    check: 'softhsm2',
    verdict: 'warn',
    found: 'not found',
    hint: 'Run make setup, name it in GYRE_SOFTHSM_LIB, or ask for the file token (not an HSM): gyre up --token file.',
  };
}

/** Folders whose content a server makes as it likes: the folder itself keeps others out. */
const foldersOfServers = ['jetstream', 'pglite'];

/** Nobody else may read keys, PINs and channel secrets, nor enter the folders that hold them. */
export async function checkPermissions(root: string): Promise<Finding> {
  const check = 'permissions';
  const open: string[] = [];
  let count = 0;
  const pending = [root];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const entry = await lstatIfThere(path);
    if (entry === null || entry.isSymbolicLink() || entry.isSocket()) continue;
    count += 1;
    if ((entry.mode & 0o077) !== 0 && (entry.isDirectory() || isSecret(path))) open.push(path);
    const isOfServer = foldersOfServers.includes(basename(path));
    if (entry.isDirectory() && count < filesCheckedMax && !isOfServer) {
      pending.push(...(await readdir(path)).map((name) => join(path, name)));
    }
  }
  if (open.length === 0) {
    return { check, verdict: 'ok', found: `${count} files and folders are the owner's alone` };
  }
  const found = `others may read ${open.slice(0, 3).join(', ')}${open.length > 3 ? ' …' : ''}`;
  return { check, verdict: 'fail', found, hint: `Close them: chmod -R go-rwx ${typed(root)}` };
}

export async function checkDisk(path: string): Promise<Finding> {
  const folder = await nearestFolder(path);
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const found = `${(free / 1024 ** 3).toFixed(1)} GiB free at ${folder}`;
  if (free >= freeBytesWanted) return { check: 'disk', verdict: 'ok', found };
  const verdict = free < freeBytesMin ? 'fail' : 'warn';
  return { check: 'disk', verdict, found, hint: 'Free some room: streams may grow to 1.3 GiB.' };
}

/** The port is free, or it is the mesh itself that listens there. */
export async function checkPort(layout: MeshLayout, mesh: MeshFile): Promise<Finding> {
  const check = 'port';
  const { port } = mesh;
  const [own, isFree] = [await runningSupervisor(layout), (await tryPort(port)) !== null];
  if (own !== null && !isFree) return { check, verdict: 'ok', found: `${port}: the mesh listens` };
  if (own === null && isFree) return { check, verdict: 'ok', found: `${port} is free` };
  if (own !== null) {
    return {
      check,
      verdict: 'fail',
      found: `${port}: the mesh runs, but its nats-server does not listen`,
      hint: `Look into ${layout.logFile('nats-server')}.`,
    };
  }
  const left = stillRunning(await readProcesses(layout)).length;
  return {
    check,
    verdict: 'fail',
    found: left > 0 ? `${port}: processes of an earlier run are left` : `${port} is in use`,
    hint:
      left > 0
        ? `End them: gyre down --dir ${typed(layout.root)}`
        : 'Take another one: gyre up --port 0',
  };
}

function isSecret(path: string): boolean {
  return /(?:\.seed|\.sealed|\.key|\.db|\.db-wal|pin|\.conf|\.json|\.object)$/.test(path);
}

async function lstatIfThere(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** `path`, or the folder above it that is there already. */
async function nearestFolder(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    if ((await lstatIfThere(folder)) !== null || folder === dirname(folder)) return folder;
  }
}

/**
 * What the figures were measured on: machine, versions, how durable the disk is. Figures without
 * these say nothing, so they are printed first and stand in every JSON document.
 */
import { closeSync, fdatasyncSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { arch, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { findNatsServer, toolEnvironment } from '#cli/mesh/tools.ts';
import { CliFault } from '#cli/fault.ts';
import { measure, type Summary } from './measure.ts';

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly openssl: string;
  /** Version, or why there is none. */
  readonly natsServer: string;
  /** What the streams' server is told; see shared/bus/server-config.ts. */
  readonly syncMode: string;
  readonly fileSystem: string;
  /** Appending 4 KiB to a file and flushing it (fdatasync). */
  readonly flush: Summary;
  /** Processes that wanted a core in the last minute, when the run began. */
  readonly load: number;
}

const flushRuns = 200;
const flushBytes = 4096;

/** `folder` is where meshes will lie: its disk is the one that counts. */
export async function machineFacts(folder: string): Promise<MachineFacts> {
  const load = Math.round((loadavg()[0] ?? 0) * 10) / 10;
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.versions.node,
    openssl: process.versions.openssl,
    natsServer: await natsVersion(),
    syncMode:
      'sync_interval: always (one server), SQLite synchronous = FULL, fdatasync in the auditor',
    fileSystem: fileSystemOf(folder),
    flush: await measureFlush(folder),
    load,
  };
}

async function natsVersion(): Promise<string> {
  try {
    return (await findNatsServer(await toolEnvironment())).version;
  } catch (error) {
    if (error instanceof CliFault) return `none (${error.code})`;
    throw error;
  }
}

/** The kernel's magic numbers of the file systems that are common enough to be named. */
const fileSystems: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x01021994: 'tmpfs (not a disk)',
  0x794c7630: 'overlayfs',
  0x2fc12fc1: 'zfs',
};

function fileSystemOf(folder: string): string {
  const { type } = statfsSync(folder);
  return fileSystems[type] ?? `0x${type.toString(16)}`;
}

async function measureFlush(folder: string): Promise<Summary> {
  const file = join(folder, 'flush.bin');
  const handle = openSync(file, 'w', 0o600);
  const block = new Uint8Array(flushBytes).fill(0x5a);
  try {
    const append = (): void => {
      writeSync(handle, block);
      fdatasyncSync(handle);
    };
    return await measure(append, { runs: flushRuns, warmupRuns: 10, budgetMs: 10_000 });
  } finally {
    closeSync(handle);
    rmSync(file);
  }
}

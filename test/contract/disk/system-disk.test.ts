/** A folder of the file system against the disk's contract. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { diskContract } from './disk-contract.ts';

diskContract('a folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gyre-disk-'));
  return {
    reopen: () => new SystemDisk(folder),
    done: (work) => work,
    end: () => rmSync(folder, { recursive: true }),
  };
});

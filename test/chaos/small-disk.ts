/**
 * A disk of 32 MiB that a test can fill: a tmpfs, mounted where this process may mount, and
 * gone at the end. An agent whose state folder is a link to it meets a disk that is really full.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { rmdir, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const bytes = 32 * 1024 * 1024;

export class SmallDisk {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Null where this process may not mount; why not goes to stderr. */
  static mount(): SmallDisk | null {
    const folder = mkdtempSync(path.join(tmpdir(), 'gyre-disk-'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=700`, 'tmpfs', folder], {
        stdio: 'pipe',
      });
    } catch (error) {
      rmdirSync(folder);
      const why = error instanceof Error ? error.message.trim() : String(error);
      process.stderr.write(
        `\n*** NOT TESTED: a full disk, because none can be mounted (${why}) ***\n\n`,
      );
      return null;
    }
    return new SmallDisk(folder);
  }

  /** `at`, an empty folder, becomes a link to this disk. */
  async carry(at: string): Promise<void> {
    await rmdir(at);
    await symlink(this.folder, at);
  }

  /** Takes every byte that is left. */
  fill(): void {
    const filler = path.join(this.folder, 'filler');
    try {
      writeFileSync(filler, new Uint8Array(2 * bytes));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return;
      throw error;
    }
    throw new Error('the small disk is not full');
  }

  free(): void {
    rmSync(path.join(this.folder, 'filler'), { force: true });
  }

  unmount(): void {
    execFileSync('umount', ['-l', this.folder], { stdio: 'pipe' });
    rmdirSync(this.folder);
  }
}

/**
 * A disk, 32 MiB unless told, that a test can fill: a tmpfs, mounted where this process may mount, and
 * gone at the end. An agent whose state folder is a link to it meets a disk that is really full.
 */

import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, rmdirSync } from 'node:fs';
import { rmdir, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const mebibyte = 1024 * 1024;

export class SmallDisk {
  readonly folder: string;
  readonly #mebibytes: number;

  private constructor(folder: string, mebibytes: number) {
    this.folder = folder;
    this.#mebibytes = mebibytes;
  }

  /** Null where this process may not mount; why not goes to stderr. */
  static mount(mebibytes = 32): SmallDisk | null {
    const folder = mkdtempSync(path.join(tmpdir(), 'gyre-disk-'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=700`, 'tmpfs', folder], {
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
    return new SmallDisk(folder, mebibytes);
  }

  /** `at`, an empty folder, becomes a link to this disk. */
  async carry(at: string): Promise<void> {
    await rmdir(at);
    await symlink(this.folder, at);
  }

  /** Takes every byte that is left. */
  fill(): void {
    const filler = path.join(this.folder, 'filler');
    const piece = new Uint8Array(mebibyte);
    try {
      for (let written = 0; written <= this.#mebibytes; written += 1) {
        appendFileSync(filler, piece);
      }
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

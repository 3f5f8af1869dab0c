/**
 * A folder of secrets: one file per channel and epoch, with nothing in it but the 32-byte secret,
 * wrapped by the signer's token. A file appears complete and durable or not at all, is never changed,
 * and goes by being overwritten with random bytes where it lies, brought to the disk, unlinked, and
 * its folder brought to the disk too. Temporary files that a crash left go the same way when the
 * folder is opened, unless they are the second name of a secret that had got its own.
 *
 * What a file system or a flash disk copies elsewhere by itself is beyond this; docs/architecture.md
 * says what to put the vault on.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, readdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import type { SecretFiles, SecretName } from './disk.ts';
import { createDurably, syncDirectory, systemCode } from './durable-file.ts';

/** The channel's name is kebab-case (schemas), so no separator and no dot is in it. */
const namePattern = /^([a-z][a-z0-9-]{0,62})\.(0|[1-9][0-9]{0,9})\.secret$/;
const temporaryPattern = /^\.[0-9a-f]{24}\.tmp$/;
/** A wrapped secret of 32 bytes has 72; what has more is not looked at further. */
const fileBytesMax = 4096;

export class SystemSecretFiles implements SecretFiles {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** Makes the folder (mode 0700) and wipes what a crash left. Rejects with the system error. */
  static async open(directory: string): Promise<SystemSecretFiles> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const files = new SystemSecretFiles(directory);
    for (const name of await readdir(directory)) {
      if (temporaryPattern.test(name)) await files.#removeTemporary(name);
    }
    return files;
  }

  async names(): Promise<SecretName[]> {
    return (await readdir(this.#directory)).flatMap((file) => {
      const [, channel, epoch] = namePattern.exec(file) ?? [];
      return channel === undefined ? [] : [{ channel, epoch: Number(epoch) }];
    });
  }

  /** Null where there is none. */
  async read(name: SecretName): Promise<Uint8Array | null> {
    try {
      const bytes = await readFile(this.#path(fileName(name)));
      return new Uint8Array(bytes.subarray(0, fileBytesMax));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    }
  }

  /** Durable once it resolves. EEXIST where there is one: nothing is ever written over. */
  write(name: SecretName, wrapped: Uint8Array): Promise<void> {
    return createDurably(this.#path(fileName(name)), wrapped);
  }

  /** Gone once it resolves; there being none is fine. */
  async wipe(name: SecretName): Promise<void> {
    try {
      await this.#wipeFile(fileName(name));
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
  }

  /** With two names its bytes are those of a secret: the crash came before this name went. */
  async #removeTemporary(file: string): Promise<void> {
    const { nlink } = await stat(this.#path(file));
    if (nlink === 1) return this.#wipeFile(file);
    await unlink(this.#path(file));
    await syncDirectory(this.#directory);
  }

  /** In place, over the blocks that held it: a rename or a truncation would leave them as they are. */
  async #wipeFile(file: string): Promise<void> {
    const handle = await open(this.#path(file), 'r+');
    try {
      const { size } = await handle.stat();
      const noise = randomBytes(Math.max(1, Math.min(size, fileBytesMax)));
      for (let at = 0; at < size; at += noise.length) {
        await handle.write(noise, 0, Math.min(noise.length, size - at), at);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await unlink(this.#path(file));
    await syncDirectory(this.#directory);
  }

  #path(file: string): string {
    return path.join(this.#directory, file);
  }
}

function fileName({ channel, epoch }: SecretName): string {
  const name = `${channel}.${epoch}.secret`;
  if (!namePattern.test(name)) throw new Error('assertion: not the name of a channel and epoch');
  return name;
}

/**
 * The signer's vault: the only copy at rest of the mesh's channel secrets, each wrapped by the token for
 * its channel and epoch and for nothing else. A member that starts asks the signer, and the signer that
 * starts asks its vault. When an epoch is closed its secret is wiped here as everywhere, and is not taken
 * again (invariant 6); the auditor's archive key lies here too and is never closed.
 */

import { archiveChannel, archiveEpoch } from '#shared/core/channels.ts';
import { equalConstantTime, lengthPrefixed, uint64, utf8 } from '#shared/crypto/bytes.ts';
import { channelSecretBytes } from '#shared/crypto/key-schedule.ts';
import type { Disk, SecretFiles, SecretName } from '#shared/runtime/disk.ts';
import type { EpochStore, HeldEpoch } from '#shared/runtime/epoch-store.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { TokenError, type Token } from '#shared/runtime/token/token.ts';
import type { EpochRecord } from './epoch-record.ts';

export type VaultErrorCode =
  /** A file of the vault does not unwrap, or to something else than a secret, or one is missing. */
  | 'VAULT_DAMAGED'
  /** The disk does not take or give a file. */
  | 'VAULT_UNUSABLE'
  /** Another secret is held for this channel and epoch. */
  | 'VAULT_CONFLICT';

/** The one error class of the vault. */
export class VaultError extends Error {
  override readonly name = 'VaultError';
  readonly code: VaultErrorCode;

  constructor(code: VaultErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

export interface VaultOptions {
  /** The secrets are in its folder `epochs`. */
  readonly disk: Pick<Disk, 'secretFiles'>;
  readonly mesh: string;
  readonly token: Pick<Token, 'wrap' | 'unwrap'>;
  readonly record: EpochRecord;
  readonly log: Log;
}

export class EpochVault implements EpochStore {
  readonly #options: VaultOptions;
  readonly #files: SecretFiles;
  /** One change at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: VaultOptions, files: SecretFiles) {
    this.#options = options;
    this.#files = files;
  }

  /**
   * Wipes what a crash between the record and the files left to be wiped.
   * @throws VaultError VAULT_UNUSABLE
   */
  static async open(options: VaultOptions): Promise<EpochVault> {
    const files = await usable(() => options.disk.secretFiles('epochs'));
    for (const name of await usable(() => files.names())) {
      if (options.record.isClosed(name)) await usable(() => files.wipe(name));
    }
    return new EpochVault(options, files);
  }

  /** @throws VaultError VAULT_DAMAGED, VAULT_UNUSABLE; TokenError */
  load(): Promise<readonly HeldEpoch[]> {
    return this.#inTurn(async () => {
      const held: HeldEpoch[] = [];
      for (const name of await usable(() => this.#files.names())) {
        const secret = await this.#read(name);
        if (secret === undefined) continue;
        // A secret without its row was kept right before a crash: it was not in use yet.
        const { standing, announcement } = this.#options.record.held(name) ?? {
          standing: 'announced' as const,
          announcement: undefined,
        };
        held.push({ ...name, secret, standing, ...(announcement && { announcement }) });
      }
      return held;
    });
  }

  /** @throws VaultError VAULT_CONFLICT, VAULT_DAMAGED, VAULT_UNUSABLE; TokenError */
  keep({ channel, epoch, secret, standing, announcement }: HeldEpoch): Promise<void> {
    const name = { channel, epoch };
    const copy = new Uint8Array(secret);
    return this.#inTurn(async () => {
      try {
        await this.#keep(name, copy, { standing, announcement });
      } finally {
        copy.fill(0);
      }
    });
  }

  /** @throws VaultError VAULT_UNUSABLE */
  drop({ channel, epoch }: SecretName): Promise<void> {
    const name = { channel, epoch };
    return this.#inTurn(async () => {
      // Named as closed first: a crash in between leaves a file that the next start wipes.
      this.#options.record.close(name);
      await usable(() => this.#files.wipe(name));
    });
  }

  /**
   * The auditor's archive key, 32 bytes, drawn at the first call; the caller wipes it.
   * @throws VaultError VAULT_DAMAGED where there was one: a second one would orphan the archive
   */
  async archiveKey(draw: () => Uint8Array): Promise<Uint8Array> {
    const name = { channel: archiveChannel, epoch: archiveEpoch };
    const known = await this.#inTurn(() => this.#read(name));
    if (known !== undefined) return known;
    if (this.#options.record.held(name) !== undefined) {
      throw new VaultError('VAULT_DAMAGED', 'the archive key was here and is not any more');
    }
    const secret = draw();
    await this.keep({ ...name, secret, standing: 'active' });
    return secret;
  }

  async #keep(
    name: SecretName,
    secret: Uint8Array,
    held: Parameters<EpochRecord['hold']>[1],
  ): Promise<void> {
    const { record, log } = this.#options;
    if (secret.length !== channelSecretBytes) {
      throw new Error('assertion: a secret of the vault has 32 bytes');
    }
    if (record.isClosed(name)) {
      log.warn({ ...name, code: 'EPOCH_UNKNOWN' }, 'a closed epoch is not kept again');
      return;
    }
    const known = await this.#read(name);
    if (known === undefined) await this.#write(name, secret);
    else {
      const isSame = equalConstantTime(known, secret);
      known.fill(0);
      if (!isSame) throw new VaultError('VAULT_CONFLICT', `${text(name)} has another secret`);
    }
    record.hold(name, held);
  }

  async #write(name: SecretName, secret: Uint8Array): Promise<void> {
    const wrapped = await this.#options.token.wrap(secret, this.#purpose(name));
    await usable(() => this.#files.write(name, wrapped));
  }

  async #read(name: SecretName): Promise<Uint8Array | undefined> {
    const wrapped = await usable(() => this.#files.read(name));
    if (wrapped === null) return undefined;
    try {
      const secret = await this.#options.token.unwrap(wrapped, this.#purpose(name));
      if (secret.length === channelSecretBytes) return secret;
      secret.fill(0);
      throw new VaultError('VAULT_DAMAGED', `${text(name)} is no secret`);
    } catch (error) {
      if (!(error instanceof TokenError) || error.code !== 'WRAPPING_INVALID') throw error;
      throw new VaultError('VAULT_DAMAGED', `${text(name)} does not open`, error);
    }
  }

  #purpose({ channel, epoch }: SecretName): Uint8Array {
    return lengthPrefixed(
      utf8('gyre/v1/epoch-vault'),
      utf8(this.#options.mesh),
      utf8(channel),
      uint64(epoch),
    );
  }

  #inTurn<Result>(run: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(run, run);
    this.#turn = turn.then(
      () => undefined,
      () => undefined,
    );
    return turn;
  }
}

async function usable<Result>(run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    throw new VaultError('VAULT_UNUSABLE', 'the vault cannot be read or written', error);
  }
}

function text({ channel, epoch }: SecretName): string {
  return `the secret of ${channel}, epoch ${epoch},`;
}

/**
 * The auditor's side of the archive: which content is kept, and how it is read again. Only ciphertext
 * reaches the disk, under the archive key, which the auditor asks for at each start and never stores.
 * What stands on the notices channel needs no archive: anyone can read it for ever.
 */

import { archiveChannel, archiveEpoch, noticesChannel } from '#shared/core/channels.ts';
import {
  archiveContent,
  openArchived,
  type ArchivedLeaf,
  type LeafContent,
} from '#shared/crypto/audit-archive.ts';
import { isContentOf, type AuditedFrame } from '#shared/crypto/audit-event.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';

export interface ArchiveOptions {
  readonly auditor: string;
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly keyring: ChannelKeyring;
}

export class Archive {
  readonly #options: ArchiveOptions;

  constructor(options: ArchiveOptions) {
    this.#options = options;
  }

  /** Whether the policy in force wants content kept. */
  get isWanted(): boolean {
    return this.#options.trust.policy.policies.channels.archive_control_events;
  }

  /** Whether the archive key is held. */
  get hasKey(): boolean {
    return this.#key() !== undefined;
  }

  /** What goes into the log beside the frame; undefined where nothing is kept. */
  seal(
    { frame, hash }: AuditedFrame,
    leafIndex: number,
    content: LeafContent | undefined,
  ): Uint8Array | undefined {
    const key = this.#key();
    const isPublic = frame.header.channel === noticesChannel;
    if (content === undefined || key === undefined || isPublic || !this.isWanted) return undefined;
    return archiveContent(this.#options.crypto, key, this.#leaf(hash, leafIndex), content);
  }

  /** What was kept, checked against what the frame's sender signed. */
  open(
    { frame, hash }: AuditedFrame,
    leafIndex: number,
    archived: Uint8Array | undefined,
  ): LeafContent | undefined {
    const { crypto } = this.#options;
    const key = this.#key();
    if (archived === undefined || key === undefined) return undefined;
    const content = openArchived(crypto, key, this.#leaf(hash, leafIndex), archived);
    if (content === undefined) return undefined;
    const { salt, bodyBytes: body } = content;
    return isContentOf(crypto, frame, { salt, body }) ? content : undefined;
  }

  #key(): Uint8Array | undefined {
    return this.#options.keyring.secretOf({ channel: archiveChannel, epoch: archiveEpoch });
  }

  #leaf(hash: string, leafIndex: number): ArchivedLeaf {
    return { auditor: this.#options.auditor, leafIndex, hash };
  }
}

/** Frames with any part replaced, correctly encrypted and signed over what they then say. */
import type { Frame, Header } from '#schemas/frame.ts';
import { treeLevels, treeRoot } from '#shared/core/batch-tree.ts';
import { leafHash } from '#shared/core/merkle.ts';
import { concat } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { deriveChannelKeys, messageNonce } from '#shared/crypto/key-schedule.ts';
import {
  ciphertextHashOf,
  eventContext,
  statementOf,
  type StatementLabel,
} from '#shared/crypto/statement.ts';
import { channelSecret, crypto, labelled, otherKey, signingKey } from './material.ts';

export interface Forgery {
  readonly header: Header;
  /** What follows the salt. */
  readonly content: Uint8Array;
  readonly label: StatementLabel;
  readonly headerBytes?: Uint8Array;
  readonly digest?: Uint8Array;
  readonly commitment?: Uint8Array;
  readonly context?: string;
  readonly isSignedByOther?: boolean;
  /** Instead of the key and nonce that the header selects. */
  readonly counter?: number;
}

/** The parts of a frame, in the order in which a sender makes them. */
export function forge(forgery: Forgery): Frame {
  const { header, content, label } = forgery;
  const headerBytes = forgery.headerBytes ?? encodeCanonical(header);
  const keys = deriveChannelKeys(crypto, channelSecret, header);
  const salt = labelled('salt');
  const plaintext = concat(salt, content);
  const ciphertext = crypto.aeadSeal({
    algorithm: 'ChaCha20-Poly1305',
    key: keys.key,
    nonce: messageNonce(keys.baseNonce, forgery.counter ?? header.counter),
    aad: headerBytes,
    plaintext,
  });
  const commitment = forgery.commitment ?? keys.commitment;
  const digest = forgery.digest ?? crypto.blake3(plaintext);
  const ciphertextHash = ciphertextHashOf(crypto, ciphertext, label);
  const parts = { header: headerBytes, commitment, ciphertext, digest };
  const seal = crypto.sign(forgery.isSignedByOther === true ? otherKey : signingKey, {
    message: statementOf(crypto, { ...parts, ciphertextHash }, label),
    context: eventContext(forgery.context ?? header.type),
  });
  return { ...parts, seal };
}

/** Salt of event `index` of a batch, and data of its leaf: BLAKE3(salt ‖ event). */
export function leavesOf(events: readonly Uint8Array[]) {
  const salts = crypto.aeadSeal({
    algorithm: 'ChaCha20-Poly1305',
    key: labelled('salt'),
    nonce: new TextEncoder().encode('gyre/v1/salt'),
    aad: new Uint8Array(),
    plaintext: new Uint8Array(32 * events.length),
  });
  return events.map((event, index) => {
    const salt = salts.slice(32 * index, 32 * index + 32);
    return { salt, data: crypto.blake3(concat(salt, event)) };
  });
}

/** SHA-256(0x02 ‖ count ‖ root) of a batch. */
export function batchDigestOf(events: readonly Uint8Array[], count = events.length): Uint8Array {
  const leaves = leavesOf(events).map(({ data }) => leafHash(crypto.sha256, data));
  const head = Uint8Array.of(2, 0, 0, count >> 8, count & 0xff);
  return crypto.sha256(concat(head, treeRoot(treeLevels(crypto.sha256, leaves))));
}

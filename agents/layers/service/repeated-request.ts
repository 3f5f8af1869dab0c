/**
 * How a request that is repeated because a connection broke is known as the same. A client gives both tries
 * one idempotency key; layer 3 makes an id out of the key and of the whole request, and puts it in place of
 * whatever the client called so. So a capability that the first try used up is good for the second for
 * a few seconds, where that is the same request to the byte, and for no other.
 */

import { IDENTIFIER_PATTERN } from '#schemas/primitives.ts';
import { lengthPrefixed, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';

/** From clients; a text of their choice, the same for both tries. */
export const idempotencyHeader = 'idempotency-key';
/** From layer 3 to the services, on their sockets. */
export const requestIdHeader = 'request-id';

const label = utf8('gyre/v1/repeated-request');
const identifier = new RegExp(IDENTIFIER_PATTERN);

export interface RepeatedRequest {
  /** The client's key, or one that nobody else has. */
  readonly key: string;
  readonly method: string;
  readonly path: string;
  readonly body: Uint8Array;
}

/** 64 hexadecimal digits. */
export function requestIdOf(
  crypto: Pick<CryptoProvider, 'sha3_256'>,
  { key, method, path, body }: RepeatedRequest,
): string {
  const named = [key, method, path].map(utf8);
  return toHex(crypto.sha3_256(lengthPrefixed(label, ...named, body)));
}

/** What layer 3 gave with a request; undefined where it gave nothing that can be an id. */
export function givenRequestId(header: string | undefined): string | undefined {
  return header !== undefined && identifier.test(header) ? header : undefined;
}

/**
 * How much of something bounded each client holds, or each of one layer: connections, requests, bytes of
 * bodies. Nobody takes more than his share, so that others find room while he holds all he may. A client is an
 * address; of IPv6 the first 64 bits, because whoever has one address there has all of them.
 */

import { isIPv6 } from 'node:net';

export interface ShareLimits {
  readonly eachMax: number;
  readonly allMax: number;
}

export class ClientShares {
  readonly #limits: ShareLimits;
  readonly #held = new Map<string, number>();
  #total = 0;

  constructor(limits: ShareLimits) {
    this.#limits = limits;
  }

  get total(): number {
    return this.#total;
  }

  /** Takes it, or says whose bound is in the way. */
  take(client: string, amount = 1): 'taken' | 'client-full' | 'all-full' {
    const held = (this.#held.get(client) ?? 0) + amount;
    if (held > this.#limits.eachMax) return 'client-full';
    if (this.#total + amount > this.#limits.allMax) return 'all-full';
    this.#held.set(client, held);
    this.#total += amount;
    return 'taken';
  }

  give(client: string, amount = 1): void {
    const held = (this.#held.get(client) ?? 0) - amount;
    if (held > 0) this.#held.set(client, held);
    else this.#held.delete(client);
    this.#total -= amount;
  }
}

/** Whom a connection from this address counts for. */
export function clientOf(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [whole = ''] = address.split('%');
  const [head = '', tail] = whole.split('::');
  const groups = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? 0 : 8 - groups.length - last.length;
  const all = [...groups, ...Array.from({ length: gap }, () => '0'), ...last];
  return all.slice(0, 4).join(':');
}

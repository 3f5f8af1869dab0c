/**
 * Every version of one kind of document that was adopted, in the order of adoption. What was in force
 * once stays known, because sagas end under what they began with and audits are judged by what was
 * known at each leaf. Versions rise, except where the keys of the role were replaced in between.
 */

import type { SignedDocument } from '#schemas/document.ts';

export interface DatedBody {
  readonly kind: 'root' | 'registry' | 'policy';
  readonly mesh: string;
  readonly version: number;
  readonly issued_at: string;
  readonly expires_at: string;
}

export interface AdoptedDocument<Body> {
  readonly document: SignedDocument<Body>;
  /** Hexadecimal SHA3-256 of the body. */
  readonly digest: string;
  readonly adoptedAtMs: number;
  /** Place among all documents that were adopted, of any kind. */
  readonly order: number;
}

/** How a version that an event names stands to those that were adopted. */
export type VersionStanding = 'newest' | 'superseded' | 'ahead' | 'unknown';

export class DocumentHistory<Body extends DatedBody> {
  readonly #entries: AdoptedDocument<Body>[];
  readonly #places = new Map<string, number>();
  #isFloorReset = false;

  constructor(first: AdoptedDocument<Body>) {
    this.#entries = [first];
    this.#places.set(first.digest, 0);
  }

  get newest(): AdoptedDocument<Body> {
    const newest = this.#entries.at(-1);
    if (newest === undefined) throw new Error('assertion: a history begins with a document');
    return newest;
  }

  get isFloorReset(): boolean {
    return this.#isFloorReset;
  }

  of(digest: string): AdoptedDocument<Body> | undefined {
    return this.#entries[this.#places.get(digest) ?? -1];
  }

  isKnown(digest: string): boolean {
    return this.#places.has(digest);
  }

  /** Whether `digest` was adopted after `earlier`, or is the same; false where one is unknown. */
  isNotOlder(digest: string, earlier: string): boolean {
    const [place, reference] = [this.#places.get(digest), this.#places.get(earlier)];
    return place !== undefined && reference !== undefined && place >= reference;
  }

  /** When its successor was adopted; undefined for the newest and for what is unknown. */
  supersededAtMs(digest: string): number | undefined {
    const place = this.#places.get(digest);
    return place === undefined ? undefined : this.#entries[place + 1]?.adoptedAtMs;
  }

  standingOf({ version, digest }: { version: number; digest: string }): VersionStanding {
    const { newest } = this;
    if (digest === newest.digest) return 'newest';
    if (this.isKnown(digest)) return 'superseded';
    return version > newest.document.body.version ? 'ahead' : 'unknown';
  }

  /** What was adopted after the latest document of that version; by version where there is none. */
  since(version: number): readonly AdoptedDocument<Body>[] {
    const place = this.#entries.findLastIndex(({ document }) => document.body.version === version);
    return place === -1
      ? this.#entries.filter(({ document }) => document.body.version > version)
      : this.#entries.slice(place + 1);
  }

  /** What was adopted after that entry. */
  after({ digest }: AdoptedDocument<Body>): readonly AdoptedDocument<Body>[] {
    return this.#entries.slice((this.#places.get(digest) ?? this.#entries.length) + 1);
  }

  add(entry: AdoptedDocument<Body>): void {
    this.#places.set(entry.digest, this.#entries.length);
    this.#entries.push(entry);
    this.#isFloorReset = false;
  }

  /** The keys of the role were replaced: the next version may be any. */
  resetFloor(): void {
    this.#isFloorReset = true;
  }
}

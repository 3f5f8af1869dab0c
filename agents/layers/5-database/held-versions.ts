/**
 * Key versions that a transaction under way is about to leave something under. What is not committed
 * yet is in no count, so a key is not destroyed while anybody holds its version.
 */

export class HeldVersions {
  readonly #held = new Map<string, number>();

  /** Holds the version until `work` is over. */
  async while<Result>(slot: string, version: number, work: () => Promise<Result>): Promise<Result> {
    const name = `${slot}#${version}`;
    this.#held.set(name, (this.#held.get(name) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (this.#held.get(name) ?? 1) - 1;
      if (left === 0) this.#held.delete(name);
      else this.#held.set(name, left);
    }
  }

  count(slot: string, version: number): number {
    return this.#held.get(`${slot}#${version}`) ?? 0;
  }
}

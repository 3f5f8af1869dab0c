/** Work that must not overlap, by name: each piece begins when the one before it of that name is over. */

export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** How the one before ended is for its own caller. */
  take<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#last.get(name) ?? Promise.resolve();
    const turn = before.then(work);
    const over = (): void => {
      if (this.#last.get(name) === ended) this.#last.delete(name);
    };
    const ended = turn.then(over, over);
    this.#last.set(name, ended);
    return turn;
  }

  /** Resolves when all that was begun or waits under a name by now is over. */
  async ended(name: string): Promise<void> {
    await this.#last.get(name);
  }
}

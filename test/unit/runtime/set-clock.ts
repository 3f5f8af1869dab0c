/** A clock that is set, as that of a machine is: what time it says and what goes by are two things. */
import { ManualClock } from './manual-clock.ts';

/** The clock of a machine: somebody sets it, and time goes by between two looks at it. */
export class SetClock extends ManualClock {
  #offsetMs = 0;
  #afterNextLookMs = 0;

  override nowMs(): number {
    const atMs = super.nowMs() + this.#offsetMs;
    this.#offsetMs += this.#afterNextLookMs;
    this.#afterNextLookMs = 0;
    return atMs;
  }

  set(byMs: number): void {
    this.#offsetMs += byMs;
  }

  goesOnAfterNextLook(byMs: number): void {
    this.#afterNextLookMs = byMs;
  }
}

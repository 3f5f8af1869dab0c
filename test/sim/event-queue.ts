/** What will happen in a simulated world: a binary heap by time, then by the order of asking. */

export interface Due {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
  readonly what: (() => string) | undefined;
  isCancelled: boolean;
}

/** Cancelled ones stay until they are due, or until they are most of the heap. */
const sweepMin = 256;

export class EventQueue {
  #heap: Due[] = [];
  #cancelled = 0;

  get size(): number {
    return this.#heap.length - this.#cancelled;
  }

  push(due: Due): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(due);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(due, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = due;
  }

  /** The first that is due until `untilMs`. */
  pop(untilMs: number): Due | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || (!first.isCancelled && first.atMs > untilMs)) return undefined;
      this.#removeFirst();
      if (!first.isCancelled) {
        // Too late to be cancelled: it is not in the heap.
        first.isCancelled = true;
        return first;
      }
      this.#cancelled -= 1;
    }
  }

  cancel(due: Due): void {
    if (due.isCancelled) return;
    due.isCancelled = true;
    this.#cancelled += 1;
    if (this.#cancelled >= sweepMin && this.#cancelled * 2 > this.#heap.length) this.#sweep();
  }

  /** In no order. */
  dueAt(atMs: number): Due[] {
    return this.#heap.filter((due) => !due.isCancelled && due.atMs <= atMs);
  }

  #sweep(): void {
    const kept = this.#heap.filter(({ isCancelled }) => !isCancelled);
    this.#heap = [];
    this.#cancelled = 0;
    // Sorted lists are heaps.
    this.#heap = kept.toSorted((left, right) => (isBefore(left, right) ? -1 : 1));
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const moved = heap.pop();
    if (moved === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const first = heap[left];
      const second = heap[left + 1];
      if (first === undefined) break;
      const isRight = second !== undefined && isBefore(second, first);
      const child = isRight ? second : first;
      if (!isBefore(child, moved)) break;
      heap[at] = child;
      at = isRight ? left + 1 : left;
    }
    heap[at] = moved;
  }
}

function isBefore(left: Due, right: Due): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}

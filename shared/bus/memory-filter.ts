/** Subject patterns that remember what they cover: a stream is looked through again and again. */
import { subjectMatches } from './subjects.ts';

const rememberedMax = 4096;

export class SubjectFilter {
  readonly #patterns: readonly string[];
  readonly #covered = new Map<string, boolean>();

  constructor(patterns: readonly string[]) {
    this.#patterns = patterns;
  }

  covers(subject: string): boolean {
    const known = this.#covered.get(subject);
    if (known !== undefined) return known;
    const covered = this.#patterns.some((pattern) => subjectMatches(pattern, subject));
    if (this.#covered.size >= rememberedMax) this.#covered.clear();
    this.#covered.set(subject, covered);
    return covered;
  }
}

/** Subject patterns that remember what they cover: a stream is looked through again and again. */
import { subjectMatches } from './subjects.ts';

const rememberedMax = 4096;
/** What filters remember, by their patterns: meshes in memory come one after the other. */
const memories = new Map<string, Map<string, boolean>>();

export class SubjectFilter {
  readonly #patterns: readonly string[];
  readonly #covered: Map<string, boolean>;

  constructor(patterns: readonly string[]) {
    this.#patterns = patterns;
    const name = patterns.join(' ');
    this.#covered = memories.get(name) ?? new Map<string, boolean>();
    if (memories.size >= rememberedMax) memories.clear();
    memories.set(name, this.#covered);
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

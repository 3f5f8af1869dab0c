/**
 * A planted bug: a mistake that somebody could make in the production code, as a change of its text, with
 * the invariant that it breaks. The text that is replaced must stand in its file exactly once, so that
 * the list cannot grow old unnoticed.
 */

import type { Extent } from '../extent.ts';
import type { RulesName } from '../genesis.ts';
import type { FaultName, VictimKind } from '../schedule.ts';

export interface Edit {
  /** From the project's root, with forward slashes. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface PlantedBug {
  /** Kebab-case. */
  readonly name: string;
  /** 1 to 15: the first that it breaks. */
  readonly invariant: number;
  /** One sentence: what was done wrong. */
  readonly what: string;
  readonly edits: readonly Edit[];
  /** What makes it visible: the runs of its hunt have these faults, and no others. */
  readonly needs: {
    readonly faults: readonly FaultName[];
    /** By name; all of them unless told. */
    readonly activities?: readonly string[];
    readonly hasEpochs?: boolean;
    readonly rules?: RulesName;
    readonly extent?: Extent['name'];
    readonly hasWorkload?: boolean;
    /** Layer 7 asks for emergency rotations. */
    readonly hasHealing?: boolean;
    /** Whom faults strike. */
    readonly victims?: readonly VictimKind[];
    /** How many faults there are at least. */
    readonly faultsMin?: number;
    /** How often a fault lasts for 15 s and more. */
    readonly longChance?: number;
    /** How long the mesh is watched once it is at rest. */
    readonly quietMs?: number;
    /** As it is drawn unless told. */
    readonly hasSecond?: boolean;
    /** What operators do, and how it comes together, for people. */
    readonly story: string;
  };
  /** Seeds that have shown it, tried before all others. */
  readonly seeds?: readonly number[];
}

/** The list and the code have grown apart, or the call is wrong. */
export class PlantingError extends Error {
  override readonly name = 'PlantingError';
}

/** A text of several lines. */
export function lines(...parts: readonly string[]): string {
  return parts.join('\n');
}

/** Files that the bug changes. */
export function filesOf({ edits }: PlantedBug): string[] {
  return [...new Set(edits.map(({ file }) => file))];
}

/** `source` of `file` with the bug in it. @throws PlantingError where a text is not there exactly once */
export function planted(bug: PlantedBug, file: string, source: string): string {
  let text = source;
  for (const edit of bug.edits.filter((each) => each.file === file)) {
    const count = source.split(edit.find).length - 1;
    if (count !== 1) {
      const start = JSON.stringify(edit.find.slice(0, 80));
      throw new PlantingError(`${bug.name}: ${start} stands ${count} times in ${file}, not once`);
    }
    text = text.replace(edit.find, () => edit.replace);
  }
  return text;
}

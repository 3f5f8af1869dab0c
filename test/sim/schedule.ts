/**
 * What goes wrong in one run: a list of faults, each with its moment, its length and its victim, drawn
 * from the seed. Nothing here acts; `faults.ts` does. The list can be cut down, which is how a failing
 * run is made short.
 */

import type { Draws } from './model.ts';

/** Faults by name. Each is a sentence about what the world does to its victim. */
export const faultNames = [
  /** The process dies at once, and starts again later. */
  'crash',
  /** The process dies before or after one of its next durable writes or sends. */
  'crash-at-point',
  /** As `crash-at-point`, and once more at a point of the life after it: during its recovery. */
  'crash-in-recovery',
  /** The process stands still and wakes up later, unaware of it. */
  'pause',
  /** A layer agent runs in the previous version, and later in the present one again. */
  'previous-version',
  'partition',
  'partition-to-bus',
  'partition-from-bus',
  'reconnect',
  /** What the agent publishes does not arrive, or what became of it is not told. */
  'publish-loss',
  'acknowledgement-loss',
  /** A part of what the agent sends or is sent gets lost. */
  'loss',
  'delay',
  'duplication',
  'reordering',
  'disk-full',
  'clock-skew',
  'clock-jump',
  'token-timeout',
  'token-session-lost',
  'token-down',
  'token-slow',
  'token-signs-wrongly',
  'bus-down',
  'bus-full',
  /** The bus forgets messages that it acknowledged. */
  'bus-forgets',
  /** An auditor is cut off, and the bus forgets what it acknowledged meanwhile. */
  'bus-forgets-unread',
  /** The bus comes back from an older copy of itself. */
  'bus-rolled-back',
  /** Somebody with access to the bus replays, tampers with, or makes up frames. */
  'wire-attack',
  /** A layer agent is revoked; what it sends from then on counts for nothing. */
  'revocation',
] as const;
export type FaultName = (typeof faultNames)[number];

export interface Fault {
  readonly name: FaultName;
  /** After the start of the run, milliseconds. */
  readonly atMs: number;
  readonly lastsMs: number;
  /** An agent, or the empty string where the fault has no victim. */
  readonly victim: string;
  /** What a fault needs beside that: strength, which point, how many. 0 to 1. */
  readonly size: number;
}

export interface Victims {
  readonly agents: readonly string[];
  readonly orchestrators: readonly string[];
  readonly layers: readonly string[];
  readonly signer: string;
  readonly auditors: readonly string[];
}

export const victimKinds = ['orchestrators', 'auditors', 'layers'] as const;
export type VictimKind = (typeof victimKinds)[number];

/** Faults without a victim among the agents. */
const ofBus: ReadonlySet<FaultName> = new Set([
  'bus-down',
  'bus-full',
  'bus-forgets',
  'bus-rolled-back',
  'wire-attack',
]);
const ofToken: ReadonlySet<FaultName> = new Set([
  'token-timeout',
  'token-session-lost',
  'token-down',
  'token-slow',
  'token-signs-wrongly',
]);

const ofLayers: ReadonlySet<FaultName> = new Set(['revocation', 'previous-version']);

/** How often each is drawn, relative to the others. */
const weights: Readonly<Record<FaultName, number>> = {
  crash: 4,
  'crash-at-point': 10,
  'crash-in-recovery': 4,
  pause: 4,
  'previous-version': 2,
  partition: 3,
  'partition-to-bus': 2,
  'partition-from-bus': 2,
  reconnect: 1,
  'publish-loss': 2,
  'acknowledgement-loss': 2,
  loss: 3,
  delay: 3,
  duplication: 2,
  reordering: 2,
  'disk-full': 2,
  'clock-skew': 1,
  'clock-jump': 1,
  'token-timeout': 2,
  'token-session-lost': 1,
  'token-down': 1,
  'token-slow': 1,
  'token-signs-wrongly': 1,
  'bus-down': 1,
  'bus-full': 1,
  'bus-forgets': 2,
  'bus-forgets-unread': 1,
  'bus-rolled-back': 1,
  'wire-attack': 3,
  revocation: 1,
};

export interface ScheduleOptions {
  /** How long faults begin. */
  readonly phaseMs: number;
  readonly faultsMax: number;
  /** 0 unless told. */
  readonly faultsMin?: number;
  /** Names that may be drawn; all of them unless told. */
  readonly names?: readonly FaultName[];
  /** Agents of these kinds alone are struck, but for what has a victim of its own. */
  readonly victims?: readonly VictimKind[] | undefined;
  /** How often a fault lasts longer than anybody tries: 0.05 unless told. */
  readonly longChance?: number | undefined;
}

export function drawSchedule(draws: Draws, victims: Victims, options: ScheduleOptions): Fault[] {
  const { phaseMs, faultsMin = 0, faultsMax, names = faultNames, longChance = 0.05 } = options;
  const count = draws.between(faultsMin, faultsMax);
  const faults = Array.from({ length: count }, (): Fault => {
    const name = drawName(draws, names);
    return {
      name,
      atMs: draws.between(0, phaseMs),
      lastsMs: lengthOf(draws, longChance),
      victim: victimOf(draws, name, { ...victims, kinds: options.victims }),
      size: draws.fraction(),
    };
  });
  return faults.toSorted((one, other) => one.atMs - other.atMs);
}

/** Longer than a publish is tried, and than a connection lasts unanswered, or not. */
function lengthOf(draws: Draws, longChance: number): number {
  return draws.chance(longChance) ? draws.between(15_000, 35_000) : draws.between(200, 12_000);
}

function drawName(draws: Draws, names: readonly FaultName[]): FaultName {
  const total = names.reduce((sum, name) => sum + weights[name], 0);
  let at = draws.between(1, total);
  for (const name of names) {
    at -= weights[name];
    if (at <= 0) return name;
  }
  throw new Error('assertion: the weights add up');
}

function victimOf(
  draws: Draws,
  name: FaultName,
  victims: Victims & { readonly kinds: readonly VictimKind[] | undefined },
): string {
  if (ofBus.has(name)) return '';
  if (ofToken.has(name)) return victims.signer;
  if (ofLayers.has(name)) return draws.pick(victims.layers);
  if (name === 'bus-forgets-unread') return draws.pick(victims.auditors);
  if (victims.kinds !== undefined)
    return draws.pick(victims.kinds.flatMap((kind) => victims[kind]));
  // Orchestrators decide and auditors witness: they are struck more often than their number says.
  if (draws.chance(0.35)) return draws.pick(victims.orchestrators);
  return draws.chance(0.1) ? draws.pick(victims.auditors) : draws.pick(victims.agents);
}

/** `crash-at-point identity-a at 1.2 s`. */
export function describeFault({ name, victim, atMs, lastsMs }: Fault): string {
  const whom = victim === '' ? '' : ` ${victim}`;
  return `${name}${whom} at ${(atMs / 1000).toFixed(1)} s for ${(lastsMs / 1000).toFixed(1)} s`;
}

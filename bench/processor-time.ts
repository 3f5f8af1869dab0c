/**
 * Processor time of the processes of a mesh, to tell what a rotation computes from what it waits for.
 * Read from /proc, so on Linux only; elsewhere there is no such row.
 */
import { readFileSync } from 'node:fs';
import { platform } from 'node:os';

/** What the kernel counts in, whatever its own clock does (USER_HZ). */
const ticksPerSecond = 100;

/** Processes that are counted together, by a name for the group. */
export type ProcessGroups = ReadonlyMap<string, readonly number[]>;

/** Milliseconds that each group has computed so far; undefined where that cannot be read. */
export function processorMs(groups: ProcessGroups): ReadonlyMap<string, number> | undefined {
  if (platform() !== 'linux') return undefined;
  const computed = [...groups].map(([name, pids]) => {
    const ticks = pids.map((pid) => ticksOf(readFileSync(`/proc/${pid}/stat`, 'utf8')));
    return [name, (ticks.reduce((sum, each) => sum + each, 0) * 1000) / ticksPerSecond] as const;
  });
  return new Map(computed);
}

/** User and system ticks of one line of /proc/<pid>/stat; the name in it may hold anything. */
export function ticksOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user, system] = [Number(fields[11]), Number(fields[12])];
  if (!Number.isFinite(user + system)) throw new RangeError('not a line of /proc/<pid>/stat');
  return user + system;
}

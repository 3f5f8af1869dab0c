/** What the agents wrote into their logs as errors, counted: faults that they survived are there too. */
import { readFile } from 'node:fs/promises';
import { agents } from '#cli/mesh/members.ts';
import type { MeshLayout } from '#cli/mesh/layout.ts';

/** The level of pino from which on a line tells of an error. */
const errorLevel = 50;

/** How often each error was logged, by its code, or by its message where it has none. */
export async function loggedErrors(layout: MeshLayout): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {};
  for (const { id, kind } of agents) {
    const text = await readFile(layout.logFile(id), 'utf8');
    for (const line of text.split('\n')) {
      const named = errorOf(line);
      if (named === undefined) continue;
      const name = `${kind}: ${named}`;
      counts[name] = (counts[name] ?? 0) + 1;
    }
  }
  return counts;
}

function errorOf(line: string): string | undefined {
  if (!line.startsWith('{')) return undefined;
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line);
  } catch (error) {
    // The last line of a process that was killed may be half a line.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const { level, code, msg, err } = entry;
  if (typeof level !== 'number' || level < errorLevel) return undefined;
  if (typeof code === 'string') return code;
  const cause = typeof err === 'object' && err !== null ? JSON.stringify(err).slice(0, 300) : '';
  return `${typeof msg === 'string' ? msg : 'an error'} ${cause}`.trim();
}

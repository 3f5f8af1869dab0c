/** A log whose lines a test reads: every field of every level, as text. */
import type { Log } from '#shared/runtime/ports.ts';

export function logTo(lines: string[]): Log {
  const write = (fields: Readonly<Record<string, unknown>>, message: string): void => {
    lines.push(`${message} ${JSON.stringify(fields)}`);
  };
  return { debug: write, info: write, warn: write, error: write };
}

/**
 * Where a program of somebody else's writes its standard error: a file in the system's temporary folder
 * that is for the agent's user alone and has no name any more when the program begins. Whatever the
 * program leaves running may go on writing to it: nobody waits for that, nothing breaks it, and it costs
 * space until it ends. Only the end of it is ever read. Without a wish to have it, it is the null device:
 * what a program says may be a secret (invariant 11).
 */

import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemCode } from '#shared/runtime/durable-file.ts';

/** Of what is read at the most, in bytes, and of what it is as escaped text, in characters. */
export const complaintMax = 2_048;

export interface StandardError {
  /** As `spawn` takes it. */
  readonly target: number | 'ignore';
  /** The end of what has been written by now, in one line; nothing where it was not wished for. */
  end(): string | undefined;
  close(): void;
}

const nowhere: StandardError = { target: 'ignore', end: () => undefined, close: () => undefined };

/** Never throws for a temporary folder that takes nothing: what was said is then lost, and why is told. */
export function openStandardError(isWished: boolean): StandardError {
  if (!isWished) return nowhere;
  let file: number;
  try {
    file = openNameless();
  } catch (error) {
    const complaint = `not kept: no temporary file (${systemCode(error) ?? 'unknown'})`;
    return { ...nowhere, end: () => complaint };
  }
  return { target: file, end: () => escapedEnd(endOf(file)), close: () => closeSync(file) };
}

function openNameless(): number {
  const path = join(tmpdir(), `gyre-${randomUUID()}`);
  // Appending, as what opens and empties it anew (`>/dev/stderr` of a shell) would leave a hole.
  const file = openSync(path, 'ax+', 0o600);
  try {
    rmSync(path);
  } catch (error) {
    closeSync(file);
    throw error;
  }
  return file;
}

function endOf(file: number): Buffer {
  const { size } = fstatSync(file);
  const bytes = Buffer.alloc(Math.min(size, complaintMax));
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, size - bytes.length));
}

/** One line whatever was written: nothing in it moves a cursor, ends a line or turns writing around. */
function escapedEnd(bytes: Buffer): string {
  const parts = Array.from(bytes.toString('utf8').trim(), escaped);
  let chars = 0;
  const dropped = parts.findLastIndex((part) => (chars += part.length) > complaintMax);
  return parts.slice(dropped + 1).join('');
}

function escaped(character: string): string {
  if (character === '\n') return '\\n';
  if (!/[\p{Cc}\p{Cf}\u2028\u2029]/u.test(character)) return character;
  return `\\u{${character.codePointAt(0)?.toString(16) ?? ''}}`;
}

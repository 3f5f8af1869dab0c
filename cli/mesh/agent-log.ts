/**
 * What a process wrote to its log when it ended: the last error line of an agent (JSON, with a code
 * and a remedy), or the last lines of a nats-server. Read from where this run began, bounded.
 */
import { open, stat } from 'node:fs/promises';
import { systemErrorCode } from './durable-files.ts';

export interface LoggedFault {
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
}

const tailBytesMax = 64 * 1024;
const messageCharactersMax = 400;
/** Of each part of a fault. */
export const faultCharactersMax = 2_000;
const errorLevel = 50;

/** Bytes in the log so far; 0 where there is none. */
export async function logSize(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 0;
    throw error;
  }
}

/** The last error with a code in the log after `fromByte`, or null. */
export async function lastFault(path: string, fromByte: number): Promise<LoggedFault | null> {
  const lines = (await readTail(path, fromByte)).split('\n');
  for (const line of lines.toReversed()) {
    const fault = faultOf(line);
    if (fault !== null) return fault;
  }
  return null;
}

/** The last lines of the log after `fromByte`, at most `linesMax`. */
export async function lastLines(
  path: string,
  fromByte: number,
  linesMax: number,
): Promise<string[]> {
  const lines = (await readTail(path, fromByte)).split('\n').filter((line) => line.trim() !== '');
  return lines.slice(-linesMax);
}

/** The fault that one line of an agent's log tells, or null. */
export function faultOf(line: string): LoggedFault | null {
  if (!line.startsWith('{')) return null;
  const entry = parseRecord(line);
  if (entry === null || typeof entry['level'] !== 'number' || entry['level'] < errorLevel) {
    return null;
  }
  const error = isRecord(entry['err']) ? entry['err'] : {};
  const code = textOf(entry['code']) ?? textOf(error['code']);
  const message = textOf(error['message']) ?? textOf(entry['msg']);
  if (message === undefined) return null;
  const remedy = textOf(entry['remedy']);
  return {
    code: (code ?? 'AGENT_FAILED').slice(0, faultCharactersMax),
    message: message.slice(0, messageCharactersMax),
    ...(remedy === undefined ? {} : { remedy: remedy.slice(0, faultCharactersMax) }),
  };
}

async function readTail(path: string, fromByte: number): Promise<string> {
  const size = await logSize(path);
  const from = Math.max(fromByte, size - tailBytesMax);
  if (size <= from) return '';
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(size - from);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

function parseRecord(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

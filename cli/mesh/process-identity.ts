/**
 * Which process a recorded pid means. A pid is used again after its process ended, so a record also
 * holds when the process began; a signal goes only to the one that was recorded.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { systemErrorCode } from './durable-files.ts';

/** A mark that no later process of the same pid has; null where no such process runs. */
export function processMark(pid: number): string | null {
  return process.platform === 'linux' ? linuxMark(pid) : portableMark(pid);
}

/** Whether the recorded process still runs. */
export function isRunning({ pid, mark }: { readonly pid: number; readonly mark: string }): boolean {
  return processMark(pid) === mark;
}

/** Whether it was stopped by a signal (SIGSTOP, Ctrl-Z) or a debugger: it is there and does nothing. */
export function isSuspended(pid: number): boolean {
  const state = process.platform === 'linux' ? linuxStat(pid)?.[0] : portableField(pid, 'stat');
  return state !== undefined && /^[Tt]/.test(state);
}

/** Sends `signal` to a process group, or only to the process; false where there is none. */
export function signalProcess(pid: number, signal: NodeJS.Signals, group: boolean): boolean {
  try {
    process.kill(group ? -pid : pid, signal);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ESRCH') return false;
    throw error;
  }
}

/** Start time in clock ticks since the boot: field 22 of /proc/<pid>/stat. A zombie counts as none. */
function linuxMark(pid: number): string | null {
  const fields = linuxStat(pid);
  return fields === undefined || fields[0] === 'Z' ? null : (fields[19] ?? null);
}

/** Fields of /proc/<pid>/stat from the third on, which is the state; undefined without a process. */
function linuxStat(pid: number): readonly string[] | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
  // The command in parentheses may hold anything; fields count from behind it.
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function portableMark(pid: number): string | null {
  return portableField(pid, 'lstart') ?? null;
}

function portableField(pid: number, field: 'lstart' | 'stat'): string | undefined {
  try {
    const text = execFileSync('ps', ['-o', `${field}=`, '-p', String(pid)], { encoding: 'utf8' });
    return text.trim() === '' ? undefined : text.trim();
  } catch {
    // ps ends with an error where there is no such process.
    return undefined;
  }
}

/** Processes of this machine, as `ps` sees them: what descends from a process, and what is left. */
import { execFileSync } from 'node:child_process';

export interface ProcessLine {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** All processes that run; zombies, which only wait for their parent, are none. */
export function processes(): ProcessLine[] {
  const text = execFileSync('ps', ['-eo', 'pid=,ppid=,stat=,args='], {
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
  });
  return text.split('\n').flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line);
    if (match === null || match[3]?.startsWith('Z') === true) return [];
    return [{ pid: Number(match[1]), parent: Number(match[2]), command: match[4] ?? '' }];
  });
}

/** `root` and everything that descends from it. */
export function familyOf(root: number, all: readonly ProcessLine[] = processes()): ProcessLine[] {
  const family = new Set([root]);
  for (let before = 0; before !== family.size;) {
    before = family.size;
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid);
  }
  return all.filter(({ pid }) => family.has(pid));
}

/** Of `before`, what still runs under the same pid and command, and whatever else names `text`. */
export function leftOf(before: readonly ProcessLine[], text: string): ProcessLine[] {
  const known = new Map(before.map(({ pid, command }) => [pid, command]));
  return processes().filter(
    ({ pid, command }) =>
      pid !== process.pid && (known.get(pid) === command || command.includes(text)),
  );
}

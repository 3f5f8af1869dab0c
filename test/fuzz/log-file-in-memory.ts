/** The file under an audit log, in memory: what a fuzzer puts there and what is left of it. */
import type { LogFile } from '#shared/runtime/disk.ts';

export interface LogFileInMemory extends LogFile {
  content(): Uint8Array;
}

export function logFileOf(bytes: Uint8Array): LogFileInMemory {
  let held = new Uint8Array(bytes);
  return {
    content: () => held,
    size: () => Promise.resolve(held.length),
    read: (position, length) => Promise.resolve(held.slice(position, position + length)),
    write: (position, written) => {
      const grown = new Uint8Array(Math.max(held.length, position + written.length));
      grown.set(held);
      grown.set(written, position);
      held = grown;
      return Promise.resolve();
    },
    sync: () => Promise.resolve(),
    truncate: (size) => {
      held = held.slice(0, size);
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}

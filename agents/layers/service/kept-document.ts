/** One JSON document of a service on its disk: replaced as a whole, checked whenever it is read. */

import type { Disk } from '#shared/runtime/disk.ts';
import { AdapterError } from '../adapter.ts';
import { storedJson } from './stored-json.ts';

/** Undefined where there is none. @throws AdapterError STORE_FAILED where it is damaged */
export function keptDocument<Value>(
  disk: Disk,
  file: string,
  schema: { check(value: unknown): value is Value },
): Value | undefined {
  const bytes = disk.readFile(file);
  if (bytes === undefined) return undefined;
  const value = storedJson(Buffer.from(bytes).toString('utf8'));
  if (schema.check(value)) return value;
  throw new AdapterError('STORE_FAILED', `${disk.place(file)} does not hold what belongs there`);
}

/** Durable once it returns. @throws AdapterError STORE_FAILED, worth another try */
export function keepDocument(disk: Disk, file: string, value: unknown): void {
  try {
    disk.replaceFile(file, Buffer.from(JSON.stringify(value)));
  } catch (cause) {
    const what = `${disk.place(file)} was not written`;
    throw new AdapterError('STORE_FAILED', what, { cause, retryable: true });
  }
}

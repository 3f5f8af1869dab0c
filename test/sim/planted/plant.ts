/**
 * Plants one bug into the process that it is called in: the text of each file that the bug changes is
 * replaced while the file is loaded. Call it before anything of the production code is loaded. A bug that
 * cannot be planted, or that was planted into files which nobody loaded, ends the process with
 * `plantingFailed`, because what such a run found would be worth nothing.
 */

import { registerHooks } from 'node:module';
import { filesOf, planted, PlantingError, type PlantedBug } from './mutation.ts';

/** Exit code. */
export const plantingFailed = 70;

/** The project's root. */
const root = new URL('../../../', import.meta.url);

export function plant(bug: PlantedBug): void {
  const missing = new Map(filesOf(bug).map((file) => [new URL(file, root).href, file]));
  const files = new Map(missing);
  registerHooks({
    load: (url, context, nextLoad) => {
      const loaded = nextLoad(url, context);
      const file = files.get(url.split('?')[0] ?? '');
      if (file === undefined) return loaded;
      missing.delete(new URL(file, root).href);
      return { ...loaded, source: orEnd(() => planted(bug, file, textOf(loaded.source))) };
    },
  });
  process.on('exit', () => {
    if (missing.size === 0) return;
    process.stderr.write(`${bug.name}: never loaded: ${[...missing.values()].join(', ')}\n`);
    process.exitCode = plantingFailed;
  });
}

function orEnd(work: () => string): string {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PlantingError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(plantingFailed);
  }
}

function textOf(source: unknown): string {
  if (typeof source === 'string') return source;
  if (source instanceof Uint8Array) return new TextDecoder().decode(source);
  throw new PlantingError('a module without a text');
}

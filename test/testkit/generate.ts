/** Writes the testkit anew: `node test/testkit/generate.ts`. Same code, same bytes, every time. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { testkitFiles, textOf } from './files.ts';

const folder = import.meta.dirname;
rmSync(join(folder, 'cases'), { recursive: true, force: true });
mkdirSync(join(folder, 'cases'));
for (const [name, content] of testkitFiles()) writeFileSync(join(folder, name), textOf(content));

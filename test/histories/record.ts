/**
 * Records histories: `node test/histories/record.ts [name …]`, by hand, when there is a new kind of
 * history to keep. Each is a whole mesh in memory with real keys, made to go one way; what its auditor
 * holds in the end is written beside this file. Recorded ones are not made again: they say how it was.
 */

import { writeFileSync } from 'node:fs';
import { brotliCompressSync } from 'node:zlib';
import path from 'node:path';
import { writeExport } from '#shared/crypto/audit-export.ts';
import { crypto } from '../support/world.ts';
import { auditOf } from './audit-of.ts';
import { foldHistory } from './fold.ts';
import { leafOf, packHistory } from './history.ts';
import { scenarios, wholeExports } from './scenarios.ts';

const folder = import.meta.dirname;

async function record(name: string): Promise<void> {
  const scenario = scenarios[name];
  if (scenario === undefined) throw new Error(`no history is called ${name}`);
  const mesh = await scenario();
  try {
    const { checkpoint, records } = await auditOf(mesh);
    const { bundle, rootDigest, mesh: meshName } = mesh.world;
    const leaves = records.map((each) => leafOf(crypto, each));
    const folding = foldHistory(crypto, { bundle, rootDigest, leaves });
    if (folding.complaints.length > 0) throw new Error(folding.complaints.join('\n'));
    const { outcomes } = folding;
    const packed = packHistory({
      format: 1,
      name,
      rootDigest,
      bundle,
      checkpoint,
      leaves,
      outcomes,
    });
    writeFileSync(path.join(folder, `${name}.history`), packed);
    say(name, packed.length, `${records.length} leaves, ${outcomes.length} entries`);
    if (!wholeExports.includes(name)) return;
    const auditor = checkpoint.body.auditor;
    const checkpoints = () => [checkpoint];
    const input = { auditor, mesh: meshName, bundle, records, checkpoints };
    const pieces = await Array.fromAsync(writeExport(input));
    const exported = brotliCompressSync(Buffer.concat(pieces));
    writeFileSync(path.join(folder, `${name}.export`), exported);
    say(`${name}, whole`, exported.length, 'for the offline verifier');
  } finally {
    await mesh.stop();
  }
}

function say(name: string, bytes: number, what: string): void {
  process.stdout.write(`${name}: ${Math.ceil(bytes / 1024)} KiB, ${what}\n`);
}

const wanted = process.argv.slice(2);
for (const name of wanted.length > 0 ? wanted : Object.keys(scenarios)) await record(name);

/**
 * Writes the generated parts of docs/protocol.md and docs/protocol-vector.json anew:
 * `node test/unit/docs/rewrite.ts`. To be run when an event type, a code or the protocol changes.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generatedPart, partNames, withPart } from './generated-parts.ts';
import { makeProtocolVector } from './protocol-vector.ts';

const docs = join(import.meta.dirname, '../../../docs');
const path = join(docs, 'protocol.md');
const document = partNames.reduce(
  (text, name) => withPart(text, name, generatedPart(name)),
  readFileSync(path, 'utf8'),
);
writeFileSync(path, document);
const vector = JSON.stringify(makeProtocolVector(), null, 2);
writeFileSync(join(docs, 'protocol-vector.json'), `${vector}\n`);

/** A bundle of a mesh directory that is no JSON any more: told as every fault of the command line. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { layoutOf } from '#cli/mesh/layout.ts';
import { readBundle } from '#cli/mesh/nats-config.ts';

const root = mkdtempSync(join(tmpdir(), 'gyre-bundle-'));
afterAll(() => rmSync(root, { recursive: true }));

test.each(['', '{', '[]', '{"root":1}'])('"%s" is no bundle', async (text) => {
  const layout = layoutOf(root);
  mkdirSync(dirname(layout.bundleFile), { recursive: true });
  writeFileSync(layout.bundleFile, text);
  await expect(readBundle(layout)).rejects.toMatchObject({
    name: 'CliFault',
    code: 'BUNDLE_MALFORMED',
  });
});

/**
 * The checker, held against small made-up trees: each breach is found in its place, and what only
 * looks like a breach is not.
 */
import { describe, expect, test } from 'vitest';
import { checkHouse, formatViolation, LINES_MAX, RULES } from './house-rules.ts';
import type { Rule } from './house-rules.ts';
import { importsOf, mask } from './source-text.ts';

const HEADER = '// What this file is for, in a sentence that says enough to go on.\n';

/** The breaches in a tree of one file, as "rule:line". The header is put before `body`. */
function breaches(path: string, body: string): string[] {
  return checkHouse([{ path, text: HEADER + body }]).map(({ rule, line }) => `${rule}:${line}`);
}

const CLEAN: Record<string, string> = {
  'schemas/plan.ts': "import { Type } from 'typebox';\nimport { id } from './primitives.ts';\n",
  'shared/core/planner.ts':
    "import type { Plan } from '#schemas/plan.ts';\nimport { order } from './order.ts';\n" +
    "// Date.now() and process.exit() would be wrong here\nexport const text = 'Math.random()';\n",
  'shared/crypto/native.ts': "import { sign } from 'node:crypto';\nimport '#shared/core/a.ts';\n",
  'shared/bus/subjects.ts': "export const PREFIX = 'gyre.v1';\n",
  'shared/bus/nats/stream.ts':
    "import { connect } from '@nats-io/transport-node';\n" +
    "import { PREFIX } from '../subjects.ts';\n// subjects begin with gyre.v1\n",
  'shared/runtime/run-loop.ts': "import { PREFIX } from '#shared/bus/subjects.ts';\n",
  'shared/runtime/token/token-child.ts': "const p = await import('pkcs11js');\n",
  'agents/signer/main.ts': "import { t } from '#shared/runtime/token/token.ts';\n",
  'agents/layers/4-encryption/root.ts': "import { t } from '#shared/runtime/token/token.ts';\n",
  'agents/layers/layer-agent.ts':
    "import '#shared/runtime/run-loop.ts';\nexport const at = Date.now();\n",
  'agents/layers/1-identity/main.ts':
    "import { a } from '../layer-agent.ts';\nimport { b } from '#agents/layers/layer-agent.ts';\n" +
    "import { c } from './adapter.ts';\n",
  'cli/main.ts':
    "import { a } from '#shared/runtime/token/file-token.ts';\nimport './exit-code.ts';\n",
  'infra/nats/permissions.ts': "import '#cli/main.ts';\n",
  'test/unit/cli/main.test.ts':
    "import '#agents/signer/a.ts';\nimport '@nats-io/kv';\nimport 'pkcs11js';\nconst s = 'gyre.v1.x';\n",
  'bench/run.ts': "import '../test/e2e/mesh.ts';\n",
};

/** A path, a body whose last line is at fault, and the rule. */
const FAULTY: [Rule, string, string][] = [
  ['known-folder', 'shared/mystery/a.ts', ''],
  ['known-folder', 'agents/loose.ts', ''],
  ['known-folder', 'src/a.ts', ''],
  ['import-order', 'schemas/a.ts', "import { x } from '#shared/core/x.ts';"],
  ['import-order', 'schemas/a.ts', "import type { X } from '../shared/core/x.ts';"],
  [
    'import-order',
    'shared/crypto/a.ts',
    "export { x } from '#shared/bus/x.ts';\nexport const y = 1;",
  ],
  ['import-order', 'shared/bus/a.ts', "type X = import('#shared/runtime/x.ts').X;"],
  ['import-order', 'shared/bus/nats/a.ts', "import '../../runtime/x.ts';"],
  ['import-order', 'shared/runtime/a.ts', "const x = await import(\n  '#agents/signer/x.ts'\n);"],
  ['import-order', 'agents/signer/a.ts', "import {\n  x,\n} from '#cli/x.ts';"],
  ['import-order', 'cli/a.ts', "import '#infra/x.ts';"],
  ['import-order', 'cli/a.ts', "import '../vitest.config.ts';"],
  ['import-literal', 'cli/a.ts', 'const x = await import(name);'],
  ['import-literal', 'cli/a.ts', 'const x = await import(`#cli/${name}.ts`);'],
  ['agents-apart', 'agents/auditor/a.ts', "import { x } from '#agents/signer/x.ts';"],
  ['agents-apart', 'agents/auditor/a.ts', "import type { X } from '../signer/x.ts';"],
  ['agents-apart', 'agents/layers/1-identity/a.ts', "import '../2-authorization/x.ts';"],
  ['agents-apart', 'agents/layers/1-identity/a.ts', "import '#agents/signer/x.ts';"],
  ['agents-apart', 'agents/layers/a.ts', "import './1-identity/x.ts';"],
  ['agents-apart', 'agents/orchestrator/a.ts', "import '#agents/layers/a.ts';"],
  ['pure-core', 'shared/core/a.ts', "import { z } from 'zod';"],
  ['pure-core', 'shared/core/a.ts', "import { hash } from 'node:crypto';"],
  ['pure-core', 'shared/core/a.ts', 'export const at = Date.now();'],
  ['pure-core', 'shared/core/a.ts', 'export const at = new Date(0);'],
  ['pure-core', 'shared/core/a.ts', 'export const chance = Math.random();'],
  ['pure-core', 'shared/core/a.ts', 'export const at = performance.now();'],
  ['pure-core', 'shared/core/a.ts', 'export const home = process.env.HOME;'],
  ['pure-core', 'shared/core/a.ts', 'export const text = `at ${Date.now()}`;'],
  ['pure-core', 'shared/core/a.ts', 'setTimeout(() => undefined, 1);'],
  ['nothing-imports-tests', 'cli/a.ts', "import '../test/e2e/mesh.ts';"],
  ['nothing-imports-tests', 'shared/bus/a.ts', "import '../../bench/run.ts';"],
  ['nats-in-bus-only', 'agents/auditor/a.ts', "import { connect } from '@nats-io/transport-node';"],
  ['nats-in-bus-only', 'cli/a.ts', "import type { NatsConnection } from 'nats';"],
  ['pkcs11-in-token-only', 'cli/a.ts', "const p = await import('pkcs11js');"],
  ['pkcs11-in-token-only', 'shared/crypto/a.ts', "const p = require('pkcs11js');"],
  ['pkcs11-in-token-only', 'shared/runtime/a.ts', "const p = require('pkcs11js');"],
  [
    'pkcs11-in-token-only',
    'agents/layers/4-encryption/a.ts',
    "const p = createRequire(import.meta.url)('pkcs11js');",
  ],
  ['token-users', 'shared/runtime/a.ts', "import { t } from './token/token.ts';"],
  ['token-users', 'agents/auditor/a.ts', "import { t } from '#shared/runtime/token/token.ts';"],
  ['token-users', 'agents/layers/a.ts', "import { t } from '#shared/runtime/token/token.ts';"],
  [
    'token-users',
    'agents/layers/5-database/a.ts',
    "import { t } from '#shared/runtime/token/token.ts';",
  ],
  ['subjects-in-one-file', 'agents/auditor/a.ts', "const subject = 'gyre.v1.dev.audit.receipt';"],
  ['subjects-in-one-file', 'cli/a.ts', 'const subject = `gyre.v1.${mesh}.saga`;'],
  ['no-drawers', 'shared/bus/utils/a.ts', ''],
  ['no-drawers', 'test/helpers/a.ts', ''],
  ['no-drawers', 'docs/common/a.md', ''],
  ['no-barrels', 'shared/bus/index.ts', ''],
  ['no-barrels', 'cli/all.ts', "export * from './a.ts';\nexport { b, type C } from './b.ts';\n"],
  ['kebab-case', 'shared/bus/natsBus.ts', ''],
  ['kebab-case', 'test/unit/Bus.test.ts', ''],
  ['kebab-case', 'shared/runtime/token_child/a.ts', ''],
  ['kebab-case', 'infra/setup/fetch_it.sh', ''],
  ['file-length', 'cli/a.ts', 'export {};\n'.repeat(LINES_MAX)],
  ['file-length', 'test/unit/a.test.ts', 'export {};\n'.repeat(LINES_MAX)],
];

describe('the rules', () => {
  test('a clean tree passes', () => {
    const files = Object.entries(CLEAN).map(([path, body]) => ({ path, text: HEADER + body }));
    expect(checkHouse(files).map(formatViolation)).toEqual([]);
  });

  test.each(FAULTY)('%s: %s', (rule, path, body) => {
    expect(breaches(path, body).map((found) => found.split(':')[0])).toContain(rule);
  });

  test('every rule has a faulty tree', () => {
    const elsewhere: Rule[] = ['header-comment', 'no-package-hosts'];
    const shown = new Set([...FAULTY.map(([rule]) => rule), ...elsewhere]);
    expect(RULES.filter((rule) => !shown.has(rule))).toEqual([]);
  });

  test('a breach is reported with its place and its line', () => {
    const body = "import { a } from './a.ts';\nimport {\n  b,\n} from '#cli/b.ts';\n";
    const [found, ...more] = checkHouse([{ path: 'shared/bus/x.ts', text: HEADER + body }]);
    expect(more).toEqual([]);
    expect(found && formatViolation(found)).toBe(
      'shared/bus/x.ts:5: import-order: shared/bus/ may not import cli: ' +
        "it stands below it in the list | } from '#cli/b.ts';",
    );
  });

  test('breaches come in the order of their lines', () => {
    const body = "export const a = Date.now();\nimport 'node:fs';\nexport const b = process.pid;\n";
    const wanted = ['pure-core:2', 'pure-core:3', 'pure-core:4'];
    expect(breaches('shared/core/a.ts', body)).toEqual(wanted);
  });

  test('a file of exactly the allowed length passes', () => {
    expect(breaches('cli/a.ts', 'export {};\n'.repeat(LINES_MAX - 1))).toEqual([]);
  });

  test.each([
    ['cli/a.ts', 'export const a = 1;\n', 1],
    ['cli/a.ts', '// short\nexport const a = 1;\n', 1],
    ['cli/a.ts', `export const a = 1;\n${HEADER}`, 1],
    ['infra/setup/a.sh', '#!/bin/sh\nset -eu\n', 2],
  ])('a file without a header comment is found: %s %j', (path, text, line) => {
    const found = checkHouse([{ path, text }]);
    expect(found.map((each) => [each.rule, each.line])).toEqual([['header-comment', line]]);
  });

  test.each([
    ['cli/a.ts', '/**\n * What this file is for, in a sentence.\n */\nexport const a = 1;\n'],
    ['cli/a.ts', `#!/usr/bin/env node\n${HEADER}export const a = 1;\n`],
    ['infra/setup/a.sh', '#!/bin/sh\n# What this script is for, in a sentence.\nset -eu\n'],
    ['test/unit/a.test.ts', 'export const a = 1;\n'],
  ])('a file with one, or one that needs none, passes: %s', (path, text) => {
    expect(checkHouse([{ path, text }])).toEqual([]);
  });

  test('hosts that serve packages are found wherever they are written', () => {
    // Put together from parts, for this file is checked like any other.
    const host = ['registry', 'example', 'org'].join('.');
    const mirror = ['http:/', 'some.example', 'debian'].join('/');
    const found = checkHouse([
      {
        path: 'infra/setup/a.sh',
        text: `# What this script is for, in a sentence.\ncurl ${host}\n`,
      },
      { path: 'docs/install.md', text: `deb ${mirror} sid main\n` },
      { path: 'package-lock.json', text: `{ "resolved": "https://${host}/a.tgz" }` },
      { path: 'docs/policy.md', text: 'the code is on github.com; registry.version rises\n' },
    ]);
    expect(found.map(({ rule, path, line }) => `${rule} ${path} ${line}`)).toEqual([
      'no-package-hosts infra/setup/a.sh 2',
      'no-package-hosts docs/install.md 1',
      'no-package-hosts package-lock.json 1',
    ]);
  });
});

describe('reading source text', () => {
  test('imports are found in every form, with their lines', () => {
    const text = [
      "import a from 'a';",
      "import type { B } from 'b';",
      "import * as c from 'c'; export * from 'd';",
      "import 'e'",
      "export { type F } from 'f';",
      "const g = await import('g');",
      "type H = typeof import('h');",
      "const i = require('i');",
      'const j = import(`j`);',
      'const k = import(where);',
    ].join('\n');
    expect(importsOf(text).map(({ line, specifier }) => `${line} ${specifier ?? '?'}`)).toEqual([
      '1 a',
      '2 b',
      '3 c',
      '3 d',
      '4 e',
      '5 f',
      '6 g',
      '7 h',
      '8 i',
      '9 j',
      '10 ?',
    ]);
  });

  test('what only looks like an import is none', () => {
    const text = [
      "// import a from 'a';",
      "/* export * from 'b'; */",
      `const c = "import c from 'c'";`,
      "const d = `import('d') ${'from'} import 'd'`;",
      "const e = Buffer.from('e');",
      "const f = { from: 'f' };",
      "const g = /import('g')|\\/from 'g'/;",
      'const h = import.meta.dirname;',
      "router.import('i');",
    ].join('\n');
    expect(importsOf(text)).toEqual([]);
  });

  test('code after a string, a template or a pattern is read as code again', () => {
    const text = "const a = `x ${b({ c: '}' })} y`; d(/[/'\"]/, 4 / 2, 'it\\'s'); e(); // f()";
    const { code, uncommented } = mask(text);
    expect(code).toHaveLength(text.length);
    expect(code).toContain('b({ c: ');
    expect(code).toContain('4 / 2');
    expect(code).toContain('e();');
    expect(code).not.toContain('it');
    expect(code).not.toContain('f()');
    expect(uncommented).toContain("'it\\'s'");
    expect(uncommented).not.toContain('f()');
  });

  test('texts that break off are read to their end', () => {
    for (const text of ["'open", '`open ${', '`open', '/* open', '// open', '/open', '${']) {
      expect(mask(text).code).toHaveLength(text.length);
    }
  });
});

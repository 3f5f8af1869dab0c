/** What the demo prints: headings, notes and a table of keys. */
import { fingerprint, styleOf, table } from '#cli/style.ts';
import type { KeyLine } from './demo-mesh.ts';

const noColor = process.env['NO_COLOR'];
const style = styleOf(process.stdout.isTTY && (noColor === undefined || noColor === ''));

export function heading(text: string): void {
  console.log(`\n${style.strong(text)}`);
}

export function note(text: string): void {
  console.log(`  ${text}`);
}

/** Progress of a command, set apart from what the demo itself says. */
export function detail(text: string): void {
  console.log(style.dim(`    ${text}`));
}

export function changesTable(before: readonly KeyLine[], after: readonly KeyLine[]): string {
  const rows = before.map(({ slot, version, keyId }) => {
    const now = after.find((key) => key.slot === slot);
    return [
      slot,
      `${fingerprint(keyId)} v${version}`,
      '→',
      now === undefined ? 'gone' : style.good(`${fingerprint(now.keyId)} v${now.version}`),
    ];
  });
  return table([['slot', 'old key', '', 'new key'].map(style.dim), ...rows], 2);
}

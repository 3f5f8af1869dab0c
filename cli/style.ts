/** Colours of a terminal, or none: text comes out unchanged where colours are off. */

export interface Style {
  readonly good: (text: string) => string;
  readonly failed: (text: string) => string;
  readonly warning: (text: string) => string;
  readonly busy: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly strong: (text: string) => string;
}

export const plainStyle: Style = styleOf(false);

export function styleOf(colours: boolean): Style {
  const wrap = (code: number) => (text: string) =>
    colours && text !== '' ? `\u001b[${code}m${text}\u001b[0m` : text;
  return {
    good: wrap(32),
    failed: wrap(31),
    warning: wrap(33),
    busy: wrap(36),
    dim: wrap(2),
    strong: wrap(1),
  };
}

/** Columns of text, each as wide as its widest cell; cells may hold colours. */
export function table(rows: readonly (readonly string[])[], indent = 0): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? 0, width(cell));
    }
  }
  return rows
    .map((row) => {
      const cells = row.map((cell, index) => cell + ' '.repeat((widths[index] ?? 0) - width(cell)));
      return ' '.repeat(indent) + cells.join('  ').trimEnd();
    })
    .join('\n');
}

/** Characters that show: colours take no room. */
export function width(text: string): number {
  // oxlint-disable-next-line no-control-regex -- the escape character is what is looked for
  return Array.from(text.replaceAll(/\u001b\[\d+m/g, '')).length;
}

/** `842 ms`, `12.3 s`, `4 min 10 s`, `24 h`. */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  const minutes = Math.round(ms / 60_000);
  if (minutes >= 60) {
    return minutes % 60 === 0
      ? `${minutes / 60} h`
      : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** Of this day, in UTC: `12:00:30Z`. */
export function clockTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(11, 19)}Z`;
}

/** `1 use`, `3 uses`. */
export function usesText(uses: number): string {
  return uses === 1 ? '1 use' : `${uses} uses`;
}

/** A path as a shell takes it, for what is printed to be typed. */
export function typed(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** An identifier such as `rolled_back` as people read it; documents keep the identifier. */
export function words(identifier: string): string {
  return identifier.replaceAll('_', ' ');
}

/** The first bytes of a key id or a digest, enough to tell keys apart. */
export function fingerprint(hex: string): string {
  return hex.slice(0, 16);
}

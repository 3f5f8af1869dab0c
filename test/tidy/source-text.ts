/**
 * Reads TypeScript text just well enough for the house's rules: which characters are code, comment
 * or string, and which modules are imported on which line. It scans characters and parses nothing,
 * so a rule that builds on it cannot be fooled by a comment or a string that looks like code.
 */

/** One import, re-export, `import()` or `require()`. `specifier` is null when it is no literal. */
export type ImportSite = { line: number; specifier: string | null };

/** Two copies of a text, of its length and with its line breaks, with parts of it blanked out. */
export type Masks = {
  /** Comments are blank, and so is what stands inside of strings, templates and patterns. */
  code: string;
  /** Only comments are blank. */
  uncommented: string;
};

/** Splits `text` into code, comments and strings. Total: an unended string ends with the text. */
export function mask(text: string): Masks {
  const code = [...blankOf(text)];
  const uncommented = [...code];
  const copy = (from: number, to: number, into: string[]): void => {
    for (let at = from; at < to; at += 1) into[at] = text.charAt(at);
  };
  const templates: number[] = [];
  let braces = 0;
  let at = 0;
  while (at < text.length) {
    const start = at;
    const kind = text.startsWith('//', at) || text.startsWith('/*', at) ? '/*' : text.charAt(at);
    if (kind === '/*' || (at === 0 && text.startsWith('#!'))) {
      at = commentEnd(text, at);
      continue;
    }
    if (kind === "'" || kind === '"') at = quotedEnd(text, at);
    else if (kind === '/' && patternMayStart(code, at)) at = patternEnd(text, at);
    else if (kind === '`' || (kind === '}' && templates.at(-1) === braces)) {
      if (kind === '}') templates.pop();
      at = templateEnd(text, at);
      if (text.charAt(at - 1) === '{') templates.push(braces);
    } else {
      if (kind === '{') braces += 1;
      if (kind === '}') braces -= 1;
      at += 1;
    }
    copy(start, at, uncommented);
    copy(start, start + 1, code);
    copy(Math.max(at - 1, start), at, code);
  }
  return { code: code.join(''), uncommented: uncommented.join('') };
}

/** All modules that `text` names: types too, for a type ties two folders as a value does. */
export function importsOf(text: string, { code }: Masks = mask(text)): ImportSite[] {
  const sites: ImportSite[] = [];
  const literal =
    /(?<![.\w$#])(?:from\s*|import\s*\(?\s*|require\s*\(\s*|createRequire\s*\([^()]*\)\s*\(\s*)(['"`])/g;
  for (const match of code.matchAll(literal)) {
    const start = match.index + match[0].length;
    const end = code.indexOf(match[1] ?? '', start);
    const specifier = text.slice(start, end === -1 ? text.length : end);
    const plain = match[1] !== '`' || !specifier.includes('${');
    sites.push({ line: lineAt(text, start), specifier: plain ? specifier : null });
  }
  const computed = /(?<![.\w$#])import\s*\(\s*(?=[^\s'"`)])/g;
  for (const match of code.matchAll(computed)) {
    sites.push({ line: lineAt(text, match.index), specifier: null });
  }
  return sites.toSorted((a, b) => a.line - b.line);
}

/** The line, from 1, of the character at `index`. */
export function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at !== -1 && at < index; at = text.indexOf('\n', at + 1)) {
    line += 1;
  }
  return line;
}

function blankOf(text: string): string[] {
  return Array.from({ length: text.length }, (_, at) => (text.charAt(at) === '\n' ? '\n' : ' '));
}

function commentEnd(text: string, start: number): number {
  const block = text.startsWith('/*', start);
  const end = text.indexOf(block ? '*/' : '\n', start + 2);
  if (end === -1) return text.length;
  return block ? end + 2 : end;
}

function quotedEnd(text: string, start: number): number {
  const quote = text.charAt(start);
  for (let at = start + 1; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === '\\') at += 1;
    else if (character === quote) return at + 1;
    else if (character === '\n') return at;
  }
  return text.length;
}

/** From a backtick, or from the brace that ends a `${…}`, to after the next backtick or `${`. */
function templateEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === '\\') at += 1;
    else if (character === '`') return at + 1;
    else if (character === '$' && text.charAt(at + 1) === '{') return at + 2;
  }
  return text.length;
}

function patternEnd(text: string, start: number): number {
  let inClass = false;
  for (let at = start + 1; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === '\\') at += 1;
    else if (character === '\n') return at;
    else if (character === '[') inClass = true;
    else if (character === ']') inClass = false;
    else if (character === '/' && !inClass) return at + 1;
  }
  return text.length;
}

/** A slash divides after a value; after an operator, a bracket or a keyword it begins a pattern. */
function patternMayStart(code: readonly string[], at: number): boolean {
  let before = at - 1;
  while (before >= 0 && /\s/.test(code[before] ?? '')) before -= 1;
  if (before < 0) return true;
  const last = code[before] ?? '';
  if (!/[\w$)\]}'"`]/.test(last)) return true;
  const word = /[\w$]+$/.exec(code.slice(Math.max(0, before - 12), before + 1).join(''))?.[0];
  return word !== undefined && /^(?:return|typeof|case|in|of|await|yield|void|throw)$/.test(word);
}

/**
 * The rules of the house, as pure functions over the project's files: which folder may import
 * which, what the pure core must not touch, where subject strings and two special packages may
 * stand, and how files are named and begin. docs/architecture.md gives the reasons.
 */
import { importsOf, lineAt, mask } from './source-text.ts';
import type { ImportSite, Masks } from './source-text.ts';

/** One file: its path from the project's root with forward slashes, and its text. */
export type SourceFile = { path: string; text: string };

export type Violation = { rule: Rule; path: string; line: number; reason: string; text: string };

/** Every rule, by the name under which the tests report it. */
export const RULES = [
  'known-folder',
  'import-order',
  'import-literal',
  'agents-apart',
  'pure-core',
  'nothing-imports-tests',
  'nats-in-bus-only',
  'pkcs11-in-token-only',
  'token-users',
  'subjects-in-one-file',
  'no-drawers',
  'no-barrels',
  'kebab-case',
  'file-length',
  'header-comment',
  'no-package-hosts',
] as const;
export type Rule = (typeof RULES)[number];

/** Lines that a file may have. */
export const LINES_MAX = 400;

/** A folder imports from itself and from those before it. */
const FOLDERS = [
  'schemas',
  'shared/core',
  'shared/crypto',
  'shared/bus',
  'shared/runtime',
  'agents',
  'cli',
  'web',
  'infra',
] as const;
const TESTS = ['test', 'bench'];
const SUBJECTS_FILE = 'shared/bus/subjects.ts';
const TOKEN_FOLDER = 'shared/runtime/token/';
/** Who may hold a token; beside the command line, which makes tokens ready. */
const TOKEN_USERS = ['agents/signer', 'agents/layers/4-encryption'];
const DRAWERS = /^(?:utils?|common|helpers?|misc|lib)$/;
const TYPESCRIPT = /\.[cm]?tsx?$/;
const SCRIPT = /\.(?:[cm]?[tj]sx?|sh)$/;
const KEBAB = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)*$/;
const HEADER_CHARACTERS_MIN = 30;

/** What would bring time, chance or the outside into the pure core. */
const IMPURE =
  /(?<![\w$.#])(?:Date\.now|Math\.random|new\s+Date\s*\(|performance\.now|process\.|globalThis\b|crypto\.|fetch\s*\(|(?:set(?:Timeout|Interval|Immediate)|queueMicrotask)\s*\()/g;

/** Hosts that serve packages, by what they are called, so that none needs to be named here. */
const PACKAGE_HOST =
  /\b(?:(?:registry|mirrors?|deb|ftp|proxy|archive|npm|pypi|packages?|artifactory|nexus)(?:\.[a-z0-9-]+)+\.(?:org|com|net|io|dev|cloud)\b|https?:\/\/[^\s/'"]+\/(?:debian|ubuntu)(?:-security)?(?=[/\s'"]|$))/gi;

type Context = { file: SourceFile; masks: Masks; imports: readonly ImportSite[]; folder: string };
type Found = Omit<Violation, 'path' | 'text'>;

/** All violations, in the order of the files and of their lines. */
export function checkHouse(files: readonly SourceFile[]): Violation[] {
  return files.flatMap((file) => {
    const lines = file.text.split('\n');
    return checkFile(file)
      .toSorted((a, b) => a.line - b.line)
      .map((found) => ({ ...found, path: file.path, text: (lines[found.line - 1] ?? '').trim() }));
  });
}

/** "path:line: rule: reason | offending line" */
export function formatViolation({ rule, path, line, reason, text }: Violation): string {
  return `${path}:${line}: ${rule}: ${reason} | ${text.slice(0, 160)}`;
}

function checkFile(file: SourceFile): Found[] {
  const found = [...checkNames(file), ...checkHosts(file)];
  if (SCRIPT.test(file.path)) found.push(...checkLength(file));
  const folder = folderOf(file.path);
  if (folder === null || TESTS.includes(folder)) return found;
  if (SCRIPT.test(file.path)) found.push(...checkHeader(file));
  if (!TYPESCRIPT.test(file.path)) return found;
  const masks = mask(file.text);
  const context = { file, masks, imports: importsOf(file.text, masks), folder };
  found.push(...checkImports(context), ...checkBarrel(context), ...checkSubjects(context));
  if (folder === 'shared/core') found.push(...checkPurity(context));
  if (folder === 'unknown') {
    const reason = `code lives in ${FOLDERS.join('/, ')}/, test/ and bench/`;
    found.push({ rule: 'known-folder', line: 1, reason });
  }
  return found;
}

/** The folder of the list that `path` is in, `unknown`, or null for a file of the root. */
function folderOf(path: string): string | null {
  const top = path.split('/')[0] ?? '';
  if (top === path || top.startsWith('.') || top === 'docs' || top === 'bin') return null;
  if (TESTS.includes(top)) return top;
  const folder = FOLDERS.find((name) => path.startsWith(`${name}/`));
  return folder === undefined || (folder === 'agents' && agentOf(path) === null)
    ? 'unknown'
    : folder;
}

/** `agents/signer`, `agents/layers/1-identity`, or `agents/layers` for all that the layers share. */
function agentOf(path: string): string | null {
  const [top, agent, part, ...rest] = path.split('/');
  if (top !== 'agents' || agent === undefined || part === undefined) return null;
  const isOneLayer = agent === 'layers' && rest.length > 0 && /^\d-/.test(part);
  return isOneLayer ? `agents/layers/${part}` : `agents/${agent}`;
}

/** The project's path that an import names, or null for a package or a module of Node. */
function targetOf(from: string, specifier: string): string | null {
  if (specifier.startsWith('#')) return specifier.slice(1);
  if (!/^\.{0,2}\//.test(specifier)) return null;
  const parts = from.split('/').slice(0, -1);
  for (const part of specifier.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.' && part !== '') parts.push(part);
  }
  return parts.join('/');
}

function checkImports(context: Context): Found[] {
  return context.imports.flatMap(({ line, specifier }): Found[] => {
    if (specifier === null) {
      const reason = 'an import must name its module, so that it can be checked';
      return [{ rule: 'import-literal', line, reason }];
    }
    const target = targetOf(context.file.path, specifier);
    if (target === null) return checkPackage(context, line, specifier);
    return checkTarget(context, line, target);
  });
}

function checkPackage({ file, folder }: Context, line: number, specifier: string): Found[] {
  const found: Found[] = [];
  if (folder === 'shared/core') {
    found.push({ rule: 'pure-core', line, reason: 'shared/core imports only schemas and itself' });
  }
  if (/^(?:@nats-io\/|nats(?:\/|$))/.test(specifier) && folder !== 'shared/bus') {
    found.push({ rule: 'nats-in-bus-only', line, reason: 'only shared/bus knows NATS' });
  }
  if (/^pkcs11js(?:\/|$)/.test(specifier) && !file.path.startsWith(TOKEN_FOLDER)) {
    found.push({
      rule: 'pkcs11-in-token-only',
      line,
      reason: `only ${TOKEN_FOLDER} knows PKCS#11`,
    });
  }
  return found;
}

function checkTarget({ file, folder }: Context, line: number, target: string): Found[] {
  const to = folderOf(target);
  if (to !== null && TESTS.includes(to)) {
    return [{ rule: 'nothing-imports-tests', line, reason: `nothing imports ${to}/` }];
  }
  const found: Found[] = [];
  const rank = (name: string | null): number => (FOLDERS as readonly string[]).indexOf(name ?? '');
  if (folder === 'shared/core' && to !== 'schemas' && to !== 'shared/core') {
    found.push({ rule: 'pure-core', line, reason: 'shared/core imports only schemas and itself' });
  }
  if (rank(folder) !== -1 && (rank(to) === -1 || rank(to) > rank(folder))) {
    const reason = `${folder}/ may not import ${to ?? target}: it stands below it in the list`;
    found.push({ rule: 'import-order', line, reason });
  }
  found.push(...checkTokenUse(file, line, target));
  const [own, other] = [agentOf(file.path), agentOf(target)];
  if (own !== null && other !== null && own !== other) {
    const sharedByLayers = own.startsWith('agents/layers/') && other === 'agents/layers';
    const reason = `${own} may not import ${other}: agents talk over the bus`;
    if (!sharedByLayers) found.push({ rule: 'agents-apart', line, reason });
  }
  return found;
}

function checkTokenUse({ path }: SourceFile, line: number, target: string): Found[] {
  if (!target.startsWith(TOKEN_FOLDER) || path.startsWith(TOKEN_FOLDER)) return [];
  const user = agentOf(path);
  if (user === null ? path.startsWith('cli/') : TOKEN_USERS.includes(user)) return [];
  const reason = `tokens are held by ${TOKEN_USERS.join(' and ')} alone`;
  return [{ rule: 'token-users', line, reason }];
}

function checkPurity({ file, masks }: Context): Found[] {
  return [...masks.code.matchAll(IMPURE)].map((match) => ({
    rule: 'pure-core',
    line: lineAt(file.text, match.index),
    reason: `no clock, chance or outside world in shared/core (${match[0].trim()})`,
  }));
}

function checkSubjects({ file, masks }: Context): Found[] {
  if (file.path === SUBJECTS_FILE) return [];
  return [...masks.uncommented.matchAll(/gyre\.v1/g)].map((match) => ({
    rule: 'subjects-in-one-file',
    line: lineAt(file.text, match.index),
    reason: `subject strings are written in ${SUBJECTS_FILE} only`,
  }));
}

/** A barrel is called index, or does nothing but hand on what other files export. */
function checkBarrel({ file, masks }: Context): Found[] {
  const reason = 'no barrel files: imports name the file they need';
  if (/(?:^|\/)index\.\w+$/.test(file.path)) return [{ rule: 'no-barrels', line: 1, reason }];
  const handed = /export\s+(?:type\s+)?(?:\*(?:\s*as\s+\w+)?|\{[^}]*\})\s*from\s*(['"])\s*\1\s*;?/g;
  const first = masks.code.search(handed);
  if (first === -1 || masks.code.replace(handed, '').trim() !== '') return [];
  return [{ rule: 'no-barrels', line: lineAt(file.text, first), reason }];
}

function checkNames({ path }: SourceFile): Found[] {
  const parts = path.split('/');
  const found: Found[] = [];
  const drawer = parts.slice(0, -1).find((part) => DRAWERS.test(part));
  if (drawer !== undefined) {
    const reason = `no folder called '${drawer}': name it for what it does`;
    found.push({ rule: 'no-drawers', line: 1, reason });
  }
  const odd = SCRIPT.test(path) && parts.length > 1 && parts.find((part) => !KEBAB.test(part));
  if (odd !== false && odd !== undefined && !odd.startsWith('.')) {
    found.push({ rule: 'kebab-case', line: 1, reason: `'${odd}' is not kebab-case` });
  }
  return found;
}

function checkLength({ text }: SourceFile): Found[] {
  const count = text.replace(/\n$/, '').split('\n').length;
  if (count <= LINES_MAX) return [];
  const reason = `${count} lines, ${LINES_MAX} are allowed`;
  return [{ rule: 'file-length', line: LINES_MAX + 1, reason }];
}

/** The first thing in a file, after the line that names its interpreter, says what it is for. */
function checkHeader({ path, text }: SourceFile): Found[] {
  const shebang = /^#!.*\n/.exec(text)?.[0] ?? '';
  const body = text.slice(shebang.length);
  const comment = path.endsWith('.sh')
    ? /^\s*(?:#.*\n?)+/.exec(body)?.[0]
    : /^\s*(?:\/\*[^]*?\*\/|(?:[ \t]*\/\/.*\n?)+)/.exec(body)?.[0];
  const words = (comment ?? '').replace(/[\s/*#]+/g, ' ').trim();
  if (words.length >= HEADER_CHARACTERS_MIN) return [];
  const reason = 'begin with a comment that says what the file is for';
  return [{ rule: 'header-comment', line: shebang === '' ? 1 : 2, reason }];
}

function checkHosts({ text }: SourceFile): Found[] {
  return [...text.matchAll(PACKAGE_HOST)].map((match) => ({
    rule: 'no-package-hosts',
    line: lineAt(text, match.index),
    reason: 'no registry or mirror by name: machines bring their own',
  }));
}

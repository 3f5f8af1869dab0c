/**
 * `gyre root|registry|policy|revocation …`: the life of the signed documents. They are proposed and
 * signed offline, file by file and key by key, and offered to the running mesh, where every agent
 * verifies them for itself.
 */
import { utf8 } from '#shared/crypto/bytes.ts';
import { positionalAt, textOption, type CommandSpec, type Options } from '../command.ts';
import { inSession, parseWhole, type Context } from '../context.ts';
import { exitCodes, usageFault, type ExitCode } from '../fault.ts';
import { typed, type Style } from '../style.ts';
import { differences, parseChange, type Json } from './changes.ts';
import { readDraft, readJson, writeDraft, type DocumentKind, type Draft } from './draft.ts';
import { localTrust, operatorKeys, type LocalTrust } from './local-trust.ts';
import { offerDocument } from './offer.ts';
import { propose, proposeRevocation } from './proposal.ts';
import { renderBody, renderDifferences, renderStanding } from './render.ts';
import { signDraft } from './signing.ts';
import { documentInForce, standingOf, type DocumentStanding } from './standing.ts';

type DatedKind = Exclude<DocumentKind, 'revocation'>;

const expiryDaysDefault = 365;
const expiryDaysMax = 3650;
const stalled: ExitCode = exitCodes.failed;

/** The commands of one kind of document. */
export function documentCommands(kind: DatedKind): readonly CommandSpec[] {
  return [show(kind), verify(kind), diff(kind), proposal(kind), sign(kind), offer(kind)];
}

export const revocationCommands: readonly CommandSpec[] = [
  {
    name: 'propose',
    summary: 'write a revocation of an agent, without signatures, to a file',
    arguments: [['<agent>', 'whose enrolment ends']],
    options: [
      ['--out <file>', 'where to; a file that is there is replaced'],
      ['--reason <text>', 'why, for everyone to read'],
      ['--force', 'also where the mesh could not go on without the agent'],
    ],
    details: 'A revocation is never taken back. Operators sign the file, then it is offered.',
    examples: ['gyre revocation propose network-a --reason "host lost" --out network-a.json'],
    run: async (context, options, positional) => {
      const { trust } = await localTrust(context);
      const reason = textOption(options, 'reason') ?? '';
      if (reason === '') throw usageFault('a revocation needs --reason', 'Say in one line why.');
      const draft = proposeRevocation(trust, {
        agentId: positionalAt(positional, 0),
        reason,
        nowMs: Date.now(),
        force: options['force'] === true,
      });
      return await written(context, await localTrust(context), { draft, options, from: undefined });
    },
  },
  verify('revocation'),
  sign('revocation'),
  offer('revocation'),
];

function show(kind: DatedKind): CommandSpec {
  return {
    name: 'show',
    summary: `show the ${kind} in force, as signed`,
    details:
      'Asks the running mesh and verifies what it answers against the pinned root. Public keys are\n' +
      'shortened; --json has them whole.',
    examples: [`gyre ${kind} show --json`],
    run: async (context) => {
      const { document, standing } = await inSession(context, (session) => {
        const draft = documentInForce(session.trust, kind);
        const { crypto, trust } = session;
        const found = standingOf(crypto, { trust, draft, nowMs: Date.now() });
        return Promise.resolve({ document: draft, standing: found });
      });
      context.output.result({ ...standing, document }, (style) =>
        [renderStanding(standing, style), '', renderBody(document.body)].join('\n'),
      );
      return exitCodes.done;
    },
  };
}

function verify(kind: DocumentKind): CommandSpec {
  const needsFile = kind === 'revocation';
  return {
    name: 'verify',
    summary: `check the signatures and dates of ${needsFile ? 'a' : 'the'} ${kind}${needsFile ? '' : ', in force or in a file'}`,
    arguments: [
      needsFile
        ? ['<file>', 'a document; no mesh needs to run']
        : ['[file]', 'a document; no mesh needs to run. Without it the running mesh is asked'],
    ],
    details:
      'Ends with 0 where it is in force or would be adopted, 1 where it is refused: the code, the\n' +
      'rule and who has still to sign are named.',
    examples: [`gyre ${kind} verify next.json`],
    run: async (context, _options, positional) => {
      const [file] = positional;
      const standing =
        file === undefined && kind !== 'revocation'
          ? await inSession(context, ({ crypto, trust }) => {
              const draft = documentInForce(trust, kind);
              return Promise.resolve(standingOf(crypto, { trust, draft, nowMs: Date.now() }));
            })
          : await standingOfFile(context, positionalAt(positional, 0), kind);
      context.output.result(standing, (style) => renderStanding(standing, style));
      return standing.verdict === 'refused' ? stalled : exitCodes.done;
    },
  };
}

function diff(kind: DatedKind): CommandSpec {
  return {
    name: 'diff',
    summary: `what a ${kind} in a file changes`,
    arguments: [
      ['<file>', 'the new document'],
      ['[other]', 'what to compare with; without it, what this machine knows to be in force'],
    ],
    examples: [`gyre ${kind} diff next.json`],
    run: async (context, _options, positional) => {
      const draft = await readDraft(positionalAt(positional, 0), kind);
      const [, other] = positional;
      const base =
        other === undefined
          ? documentInForce((await localTrust(context)).trust, kind)
          : await readDraft(other, kind);
      const found = differences(base.body as Json, draft.body as Json);
      context.output.result({ differences: found }, (style) => renderDifferences(found, style));
      return exitCodes.done;
    },
  };
}

function proposal(kind: DatedKind): CommandSpec {
  return {
    name: 'propose',
    summary: `write the next version of the ${kind}, without signatures, to a file`,
    options: [
      ['--out <file>', 'where to; a file that is there is replaced'],
      [
        '--set <change...>',
        'PATH=VALUE, as often as needed; a path as diff shows it, a value as JSON or text',
      ],
      ['--from <file>', 'begin from an edited document instead of the one in force'],
      ['--expires-in-days <days>', `how long it will hold (default: ${expiryDaysDefault})`],
    ],
    details:
      'Needs no running mesh: it begins from what this operator knew to be in force when it last spoke\n' +
      'with one. Refused at once: what nobody could adopt whoever signs it.',
    examples: [
      kind === 'policy'
        ? 'gyre policy propose --set policies.rotation.soak_ms=5000 --out next.json'
        : kind === 'registry'
          ? 'gyre registry propose --set algorithms.kem.ML-KEM-768.status=deprecated --out next.json'
          : `gyre ${kind} propose --expires-in-days 90 --out next.json`,
    ],
    run: async (context, options) => {
      const local = await localTrust(context);
      const from = textOption(options, 'from');
      const inForce = documentInForce(local.trust, kind);
      const draft = propose({
        trust: local.trust,
        kind,
        from: from === undefined ? (inForce.body as Json) : await readJson(from),
        changes: changesOf(options),
        expiresInDays: parseWhole(textOption(options, 'expiresInDays') ?? `${expiryDaysDefault}`, {
          name: '--expires-in-days',
          min: 1,
          max: expiryDaysMax,
        }),
        nowMs: Date.now(),
      });
      return await written(context, local, { draft, options, from: inForce });
    },
  };
}

function sign(kind: DocumentKind): CommandSpec {
  return {
    name: 'sign',
    summary: `add this operator's signature to a ${kind} in a file`,
    arguments: [['<file>', 'the document; it is replaced by the signed one']],
    details: `Needs no running mesh: the key files of --as and the document are enough. ${
      kind === 'revocation' ? '' : 'Shows what it changes.'
    }${kind === 'root' ? '\nA root is signed twice, with ML-DSA-87 and SLH-DSA-SHAKE-256s.' : ''}`,
    examples: [`gyre ${kind} sign next.json --as op-2`],
    run: async (context, _options, positional) => {
      const file = positionalAt(positional, 0);
      const draft = await readDraft(file, kind);
      const { crypto, trust } = await localTrust(context);
      const keys = await operatorKeys(context, crypto, { withAnchor: kind === 'root' });
      const signed = await signDraft(crypto, draft, keys);
      await writeDraft(file, signed);
      const standing = standingOf(crypto, { trust, draft: signed, nowMs: Date.now() });
      const base = kind === 'revocation' ? undefined : documentInForce(trust, kind);
      const found = changesFrom(base, signed, context.operatorId);
      context.output.result({ file, ...standing, differences: found.differences }, (style) =>
        [
          renderStanding(standing, style),
          ...found.lines(style),
          '',
          nextStep(context, file, standing),
        ]
          .join('\n')
          .trimEnd(),
      );
      return exitCodes.done;
    },
  };
}

function offer(kind: DocumentKind): CommandSpec {
  return {
    name: 'offer',
    summary: `hand a signed ${kind} to the running mesh and wait until it is adopted`,
    arguments: [['<file>', 'the document']],
    details:
      'It is verified here first: a bad offer would lock this operator out for 15 minutes (gyre status\n' +
      'shows who is). Waits for the orchestrators; every other agent takes it by itself, and gyre\n' +
      'telemetry recent shows by which versions each layer agent works.',
    examples: [`gyre ${kind} offer next.json`],
    run: async (context, _options, positional) => {
      const draft = await readDraft(positionalAt(positional, 0), kind);
      const offered = await inSession(context, (session) =>
        offerDocument(session, {
          draft,
          bytes: utf8(JSON.stringify(draft)),
          timeoutMs: context.timeoutMs,
          onProgress: (line) => context.output.progress(line),
        }),
      );
      const version = draft.body.kind === 'revocation' ? '' : ` ${draft.body.version}`;
      context.output.result(
        offered,
        () => `${kind}${version} adopted by ${offered.adoptedBy.join(', ')}`,
      );
      return exitCodes.done;
    },
  };
}

async function standingOfFile(
  context: Context,
  file: string,
  kind: DocumentKind,
): Promise<DocumentStanding> {
  const draft = await readDraft(file, kind);
  const { crypto, trust } = await localTrust(context);
  return standingOf(crypto, { trust, draft, nowMs: Date.now() });
}

async function written(
  context: Context,
  { crypto, trust }: LocalTrust,
  {
    draft,
    options,
    from,
  }: { readonly draft: Draft; readonly options: Options; readonly from: Draft | undefined },
): Promise<ExitCode> {
  const out = textOption(options, 'out');
  if (out === undefined) throw usageFault('a proposal needs --out', 'Write … --out FILE.');
  const file = await writeDraft(out, draft);
  const standing = standingOf(crypto, { trust, draft, nowMs: Date.now() });
  const found = changesFrom(from, draft, context.operatorId);
  context.output.result({ file, ...standing, differences: found.differences }, (style) =>
    [
      renderStanding(standing, style),
      ...found.lines(style),
      '',
      nextStep(context, file, standing),
    ].join('\n'),
  );
  return exitCodes.done;
}

/** What a document changes, and since when: an operator may not have heard of the newest one. */
function changesFrom(base: Draft | undefined, { body }: Draft, operatorId: string) {
  if (base === undefined || base.body.kind === 'revocation') {
    return { differences: [], lines: () => [] };
  }
  const { kind, version } = base.body;
  const found = differences(base.body as Json, body as Json);
  return {
    differences: found,
    lines: (style: Style) => [
      '',
      `compared with ${kind} ${version}, the newest that ${operatorId} knows of:`,
      renderDifferences(found, style),
    ],
  };
}

function nextStep(
  { layout }: Context,
  file: string,
  { kind, thresholds, verdict }: DocumentStanding,
): string {
  const mesh = `--dir ${typed(layout.root)}`;
  if (verdict === 'adoptable') return `Next: gyre ${kind} offer ${typed(file)} ${mesh}`;
  const missing = thresholds
    .filter(({ signed, threshold }) => signed < threshold)
    .flatMap(({ keys }) => keys.filter(({ state }) => state !== 'signed'))
    .flatMap(({ operator }) => (operator === undefined ? [] : [operator]));
  const [who] = [...new Set(missing)];
  return who === undefined ? '' : `Next: gyre ${kind} sign ${typed(file)} --as ${who} ${mesh}`;
}

function changesOf(options: Options) {
  const given = options['set'];
  const texts = Array.isArray(given) ? given : given === undefined ? [] : [given];
  return texts.map((text) => parseChange(String(text)));
}

/** `gyre epoch …`: under which secrets the mesh's own channels speak, and having them drawn anew. */
import { randomUUID } from 'node:crypto';
import type { EpochStatus } from '#schemas/epoch.ts';
import { channels } from '#shared/core/channels.ts';
import { checks } from '../answers.ts';
import { textOption, type CommandSpec } from '../command.ts';
import { inSession } from '../context.ts';
import { CliFault, exitCodes, usageFault } from '../fault.ts';
import type { OperatorSession } from '../operator-session.ts';
import { table, type Style } from '../style.ts';

const pollMs = 100;

const show: CommandSpec = {
  name: 'show',
  summary: 'show the epoch of every channel: since when, who accepted it, what is still open',
  examples: ['gyre epoch show --json'],
  run: async ({ output, ...context }) => {
    const found = await inSession({ output, ...context }, statusOf);
    output.result({ channels: found }, (style) => renderEpochs(found, style));
    return found.every(({ epoch }) => epoch > 0) ? exitCodes.done : exitCodes.failed;
  },
};

const rotate: CommandSpec = {
  name: 'rotate',
  summary: 'have one channel, or all of them, go on under a fresh secret, and wait until they do',
  options: [
    ['--channel <name>', 'one channel (default: all)'],
    ['--suspicion', 'because the present secret may have leaked'],
    ['--reason <text>', 'why, for the audit'],
  ],
  examples: ['gyre epoch rotate --channel saga --reason "key ceremony"'],
  run: async ({ output, ...context }, options) => {
    const channel = textOption(options, 'channel');
    if (channel !== undefined && !channels.includes(channel)) {
      throw usageFault(`there is no channel ${channel}`, `Channels: ${channels.join(', ')}.`);
    }
    const found = await inSession({ output, ...context }, async (session) => {
      const before = await statusOf(session);
      const requireHeard = await session.rekey({
        requestId: randomUUID(),
        ...(channel === undefined ? {} : { channel }),
        cause: options['suspicion'] === true ? 'suspicion' : 'operator',
        reason: textOption(options, 'reason') ?? 'asked for on the command line',
      });
      return untilRekeyed(session, { before, channel, requireHeard });
    });
    output.result({ channels: found }, (style) => renderEpochs(found, style));
    return exitCodes.done;
  },
};

export const epochCommands: readonly CommandSpec[] = [show, rotate];

async function statusOf(session: OperatorSession): Promise<EpochStatus[]> {
  const { channels: found } = await session.askOrchestrator(
    { ask: 'epoch-status' },
    checks.epochStatus,
  );
  return found;
}

/** The channels that were to be rekeyed, once all of them are. */
async function untilRekeyed(
  session: OperatorSession,
  {
    before,
    channel,
    requireHeard,
  }: {
    readonly before: readonly EpochStatus[];
    readonly channel: string | undefined;
    readonly requireHeard: () => Promise<void>;
  },
): Promise<EpochStatus[]> {
  const old = new Map(before.map(({ channel: name, epoch }) => [name, epoch]));
  for (;;) {
    const found = await statusOf(session);
    const concerned = found.filter(
      ({ channel: name }) => channel === undefined || name === channel,
    );
    const late = concerned.filter((each) => each.epoch <= (old.get(each.channel) ?? 0));
    if (late.length === 0) return concerned;
    await requireHeard();
    if (performance.now() > session.deadlineMs) {
      throw new CliFault({
        code: 'TIMEOUT',
        reason: `not rekeyed yet: ${late.map((each) => each.channel).join(', ')}`,
        hint: 'The request is stored and may still be met; look at gyre epoch show.',
        exitCode: exitCodes.unreachable,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

export function renderEpochs(found: readonly EpochStatus[], style: Style): string {
  const head = ['channel', 'epoch', 'because of', 'since', 'messages', 'open', 'members', ''];
  const rows = found.map((each) => [
    each.channel,
    String(each.epoch),
    each.cause ?? '',
    each.activatedAtMs === undefined ? '' : new Date(each.activatedAtMs).toISOString(),
    String(each.messages),
    each.open.join(' '),
    String(each.members.length),
    notes(each, style),
  ]);
  return table([head.map((name) => style.dim(name)), ...rows]);
}

function notes({ epoch, pending, absent, unaudited }: EpochStatus, style: Style): string {
  const said = [
    ...(epoch === 0 ? [style.failed('no epoch yet')] : []),
    ...(pending === undefined ? [] : [style.busy(`${pending} is announced`)]),
    ...(absent.length === 0 ? [] : [style.dim(`absent: ${absent.join(', ')}`)]),
    ...(unaudited.length === 0
      ? []
      : [style.warning(`${unaudited.join(' ')} waits for the auditor`)]),
  ];
  return said.join(', ');
}

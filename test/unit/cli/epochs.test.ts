/** `gyre epoch`: what is taken, and what is printed. */
import { expect, test } from 'vitest';
import type { EpochStatus } from '#schemas/epoch.ts';
import { renderEpochs } from '#cli/epoch/commands.ts';
import { runProgram } from '#cli/program.ts';
import { plainStyle } from '#cli/style.ts';

class Memory {
  text = '';
  readonly isTTY = false;
  write(text: string): boolean {
    this.text += text;
    return true;
  }
}

async function run(...args: string[]) {
  const [stdout, stderr] = [new Memory(), new Memory()];
  const code = await runProgram(args, { stdout, stderr, environment: {} });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

const settled: EpochStatus = {
  channel: 'saga',
  epoch: 3,
  cause: 'time',
  activatedAtMs: Date.UTC(2026, 0, 2, 3, 4, 5),
  open: [3, 2],
  unaudited: [],
  members: ['auditor', 'signer'],
  absent: [],
  messages: 17,
};

test('a channel that there is not is named, with those that there are', async () => {
  const { code, stderr } = await run('epoch', 'rotate', '--channel', 'layer-8');
  expect(code).toBe(2);
  expect(stderr).toContain('there is no channel layer-8');
  for (const channel of ['saga', 'mesh', 'operators', 'telemetry', 'layer-7']) {
    expect(stderr).toContain(channel);
  }
});

test('the channel of notices has no epochs, and an option that there is not is refused', async () => {
  expect((await run('epoch', 'rotate', '--channel', 'notices')).code).toBe(2);
  expect((await run('epoch', 'rotate', '--epoch', '3')).code).toBe(2);
  expect((await run('epoch', 'show', 'saga')).code).toBe(2);
});

test('one row per channel: where it stands, since when, what is still open', () => {
  const text = renderEpochs([settled], plainStyle);
  const [head = '', row = ''] = text.split('\n');
  expect(head.trim().split(/\s{2,}/)).toEqual([
    'channel',
    'epoch',
    'because of',
    'since',
    'messages',
    'open',
    'members',
  ]);
  expect(row.trim().split(/\s{2,}/)).toEqual([
    'saga',
    '3',
    'time',
    '2026-01-02T03:04:05.000Z',
    '17',
    '3 2',
    '2',
  ]);
});

test('what is not as it should be is said beside it', () => {
  const none = { ...settled, channel: 'mesh', epoch: 0, open: [], members: [], messages: 0 };
  const text = renderEpochs(
    [none, { ...settled, pending: 4, absent: ['phi-a', 'network-a'], unaudited: [2] }],
    plainStyle,
  );
  const [, first, second] = text.split('\n');
  expect(first).toContain('no epoch yet');
  expect(second).toContain('4 is announced, absent: phi-a, network-a, 2 waits for the auditor');
});

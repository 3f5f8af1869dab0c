/**
 * Systems of somebody else's against the adapter contract: programs that are run for each operation
 * (the example of docs/adapters.md), and a service that reads its keys from files.
 */
import { spawnSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, sign, verify, type webcrypto } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommandChannel } from '#agents/layers/attached/command-channel.ts';
import { openKeyFiles, type KeyFiles } from '#agents/layers/attached/key-files-adapter.ts';
import type { ProgramFailure } from '#agents/layers/attached/program.ts';
import { reload } from '#agents/layers/attached/reload.ts';
import { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { crypto } from '../../support/world.ts';
import { adapterContract } from './adapter-contract.ts';

const examples = join(import.meta.dirname, '../../../docs/examples');
const example = join(examples, 'json-file-adapter.mjs');
const challenge = new Uint8Array([1]);
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-attached-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

adapterContract('programs, one for each operation', async () => {
  const place = mkdtempSync(join(tmpdir(), 'gyre-programs-'));
  const open = () => RemoteAdapter.connect(commands([example, join(place, 'keys.json')]));
  return {
    adapter: await open(),
    reopen: open,
    close: async () => rmSync(place, { recursive: true }),
  };
});

const python = ['python3', 'python'].find(
  (name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
);
if (python === undefined) {
  process.stderr.write(
    '\n*** NOT TESTED: docs/examples/mac-adapter.py, for want of Python. ***\n\n',
  );
} else {
  adapterContract('a small program in Python', async () => {
    const place = mkdtempSync(join(tmpdir(), 'gyre-python-'));
    const words = [join(examples, 'mac-adapter.py'), join(place, 'keys.json')];
    const open = () =>
      RemoteAdapter.connect(new CommandChannel({ crypto, program: python, arguments: words }));
    return {
      adapter: await open(),
      reopen: open,
      close: async () => rmSync(place, { recursive: true }),
    };
  });
}

adapterContract('key files with a reload program', async () => {
  const place = mkdtempSync(join(tmpdir(), 'gyre-files-'));
  const open = () => openFiles(place);
  let files = await open();
  return {
    adapter: files.adapter,
    reopen: async () => {
      files.keys.close();
      files = await open();
      return files.adapter;
    },
    close: async () => {
      files.keys.close();
      rmSync(place, { recursive: true });
    },
  };
});

describe('a program that fails', () => {
  const told = (code: string, timeoutMs?: number) => {
    const failures: ProgramFailure[] = [];
    const failure = async () => {
      const adapter = await connected(code, timeoutMs, (each) => failures.push(each));
      const error: unknown = await adapter.inspect().catch((caught: unknown) => caught);
      return { message: error instanceof Error ? error.message : '', failures };
    };
    return failure();
  };

  test('is named, with the operation and its exit code, and what it said is for the log alone', async () => {
    const { message, failures } = await told(
      `process.stderr.write('no route to vault\\n\\u001b[2Jtoken=1'); process.exitCode = 3`,
    );
    const what = 'exit code 3, and no reason printed';
    expect(message).toBe(`the program ${process.execPath} failed at inspect: ${what}`);
    expect(failures).toEqual([
      {
        program: process.execPath,
        operation: 'inspect',
        what,
        complaint: 'no route to vault\\n\\u{1b}[2Jtoken=1',
      },
    ]);
  });

  test.each([
    ['without JSON', `process.stdout.write('soon')`, 'exit code 0, and no JSON printed'],
    ['killed by a signal', `process.kill(process.pid, 'SIGKILL')`, 'killed: SIGKILL'],
    ['out of time', 'setInterval(() => 0, 1000)', 'timeout'],
  ])('%s is told as that', async (_, code, what) => {
    const { message, failures } = await told(code, 3_000);
    expect(message).toContain(`failed at inspect: ${what}`);
    expect(failures).toMatchObject([{ what }]);
  });

  test('because it cannot be started is told with the cause', async () => {
    const program = join(folder, 'nothing');
    const nowhere = new CommandChannel({ crypto, program });
    await expect(RemoteAdapter.connect(nowhere)).rejects.toThrow(
      `the program ${program} failed at describe: not started: ENOENT`,
    );
  });

  test('to reload a service is told so too', async () => {
    const failures: ProgramFailure[] = [];
    const script = join(folder, 'reload.cjs');
    writeFileSync(script, `process.stderr.write('no such unit'); process.exitCode = 5`);
    const onFailure = (each: ProgramFailure) => void failures.push(each);
    const words = { arguments: [script], logsStandardError: true };
    const spec = { program: process.execPath, ...words, onFailure };
    await expect(reload(spec, '1/session-token')).rejects.toThrow('exit code 5');
    expect(failures).toMatchObject([{ operation: 'reload', complaint: 'no such unit' }]);
  });
});

describe('a program', () => {
  test.each([
    ['that prints no JSON', 'process.stdout.write("soon")', true],
    ['that answers something else', 'process.stdout.write("{}")', false],
    ['that ends with a code and no reason', 'process.exit(3)', true],
    ['that prints without end', 'setInterval(() => console.log("x".repeat(100000)))', true],
  ])('%s is a fault of the system', async (_, code, retryable) => {
    const inspected = inspectedBy(code);
    await expect(inspected).rejects.toMatchObject({ code: 'SYSTEM_UNREACHABLE', retryable });
  });

  test('that hangs is killed, with what it started', async () => {
    const pidFile = join(folder, 'pid');
    const hangs = `
      const { pid } = require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => 0, 1000)']);
      require('node:fs').writeFileSync(${JSON.stringify(pidFile)}, String(pid));
      setInterval(() => 0, 1000);`;
    await expect(inspectedBy(hangs, 2_000)).rejects.toMatchObject({ retryable: true });
    const pid = Number(readFileSync(pidFile, 'utf8'));
    await expect.poll(() => isRunning(pid), { timeout: 30_000 }).toBe(false);
  });

  test('that leaves something running behind holds up nobody', async () => {
    const leaves = `
      const options = { stdio: ['ignore', 'inherit', 'ignore'], detached: true };
      require('node:child_process').spawn('sleep', ['60'], options).unref();
      process.stdout.write('[]');`;
    expect(await inspectedBy(leaves)).toEqual([]);
  });

  test('is given nothing of the environment that may be a secret', async () => {
    const file = join(folder, 'environment');
    const secret = 'PIN_OF_THE_TOKEN';
    process.env[secret] = '1234';
    try {
      const keeps = `require('node:fs').writeFileSync(${JSON.stringify(file)}, JSON.stringify(process.env));
        process.stdout.write('[]');`;
      expect(await inspectedBy(keeps)).toEqual([]);
    } finally {
      Reflect.deleteProperty(process.env, secret);
    }
    const given = Object.keys(JSON.parse(readFileSync(file, 'utf8')) as object);
    const allowed = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];
    // One that the system itself sets in every process, on some systems.
    expect(given.filter((name) => !name.startsWith('__'))).toEqual(
      allowed.filter((name) => process.env[name] !== undefined).sort(inOrderOf(given)),
    );
  });

  test('that may not be killed is given up on all the same', async () => {
    const pidFile = join(folder, 'pid');
    const hangs = `
      require('node:fs').writeFileSync(${JSON.stringify(pidFile)}, String(process.pid));
      setInterval(() => 0, 1000);`;
    const adapter = await connected(hangs, 2_000);
    const { kill } = process;
    process.kill = () => {
      throw Object.assign(new Error('it is somebody else by now'), { code: 'EPERM' });
    };
    try {
      await expect(adapter.inspect()).rejects.toMatchObject({ retryable: true });
    } finally {
      process.kill = kill;
      process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL');
    }
  });

  test('that is not there, or that refuses, is told apart', async () => {
    const nowhere = new CommandChannel({ crypto, program: join(folder, 'nothing') });
    await expect(RemoteAdapter.connect(nowhere)).rejects.toMatchObject({
      code: 'SYSTEM_UNREACHABLE',
      retryable: true,
    });
    const full = '{"error":{"code":"DISK_FULL","reason":"no room"}}';
    const refuses = `process.stdout.write(${JSON.stringify(full)}); process.exitCode = 1`;
    await expect(inspectedBy(refuses)).rejects.toMatchObject({ code: 'DISK_FULL' });
  });

  test('is given its question without a shell in between', async () => {
    const file = join(folder, 'asked');
    const keeps = `require('node:fs').writeFileSync(${JSON.stringify(file)}, require('node:fs').readFileSync(0));
      process.stdout.write('{"error":{"code":"SLOT_UNKNOWN","reason":"kept"}}'); process.exitCode = 1`;
    const adapter = await connected(keeps);
    const slot = '6/$(reboot)';
    await expect(adapter.freeze(slot, true)).rejects.toMatchObject({ code: 'SLOT_UNKNOWN' });
    const asked: unknown = JSON.parse(readFileSync(file, 'utf8'));
    expect(asked).toEqual({ operation: 'freeze', slot, frozen: true });
  });
});

describe('key files', () => {
  const slot = '1/session-token';

  test('have the new key before it signs, the old one until it is destroyed, and secrets for one', async () => {
    const { adapter, keys } = await openFiles(folder);
    const first = kidsOf();
    await adapter.prepare(slot, 2);
    expect(kidsOf()).toHaveLength(first.length + 1);
    expect(secretOf('session-token').kid).toBe(first.find((kid) => isOf(kid, 1)));
    await adapter.activate(slot, 2, challenge);
    const { kid } = secretOf('session-token');
    expect(isOf(kid, 2)).toBe(true);
    expect(statSync(join(folder, 'out', 'session-token.jwk')).mode & 0o777).toBe(0o600);
    await adapter.retire(slot, 1);
    expect(kidsOf()).toHaveLength(first.length);
    keys.close();

    function isOf(id: string | undefined, version: number): boolean {
      return keys.store.version(slot, version)?.keyId === id;
    }
  });

  test('are those of RFC 9964: what the private file signs, the public set verifies', async () => {
    const { keys } = await openFiles(folder);
    const secret = secretOf('session-token');
    const published = jwks().find(({ kid }) => kid === secret.kid);
    const message = Buffer.from('a token');
    const signature = sign(null, message, createPrivateKey({ key: secret, format: 'jwk' }));
    const key = createPublicKey({ key: published ?? {}, format: 'jwk' });
    expect(verify(null, message, key, signature)).toBe(true);
    keys.close();
  });

  test('a reload that fails fails the step, and the next try brings it through', async () => {
    const script = join(folder, 'reload.cjs');
    writeFileSync(script, 'process.exit(1)');
    const reload = { program: process.execPath, arguments: [script] };
    const { adapter, keys } = await openFiles(folder, reload);
    await expect(adapter.prepare(slot, 2)).rejects.toMatchObject({
      code: 'SYSTEM_UNREACHABLE',
      retryable: true,
    });
    writeFileSync(script, 'process.exit(0)');
    expect(await adapter.prepare(slot, 2)).toMatchObject({ version: 2, state: 'prepared' });
    keys.close();
  });

  interface Jwk extends webcrypto.JsonWebKey {
    readonly kid: string;
  }

  function jwks(): Jwk[] {
    return (JSON.parse(readFileSync(join(folder, 'out', 'jwks.json'), 'utf8')) as { keys: Jwk[] })
      .keys;
  }

  function kidsOf(): string[] {
    return jwks().map(({ kid }) => kid);
  }

  function secretOf(keyType: string): Jwk {
    return JSON.parse(readFileSync(join(folder, 'out', `${keyType}.jwk`), 'utf8')) as Jwk;
  }
});

function openFiles(place: string, reload?: { program: string; arguments: string[] }) {
  return openKeyFiles({
    layer: 1,
    disk: new SystemDisk(place),
    crypto,
    clock: systemClock,
    usageWindowMs: 1_000,
    directory: join(place, 'out'),
    ...(reload === undefined ? {} : { reload }),
  }) satisfies Promise<KeyFiles>;
}

function commands(
  words: string[],
  timeoutMs = 60_000,
  onFailure: (failure: ProgramFailure) => void = () => undefined,
): CommandChannel {
  const program = { program: process.execPath, arguments: words, timeoutMs };
  return new CommandChannel({ crypto, ...program, logsStandardError: true, onFailure });
}

/** An adapter whose program is this script, but for the description. */
function connected(
  code: string,
  timeoutMs?: number,
  onFailure?: (failure: ProgramFailure) => void,
): Promise<RemoteAdapter> {
  const described = `
    const fs = require('node:fs');
    const asked = fs.readFileSync(0, 'utf8');
    if (JSON.parse(asked).operation === 'describe') {
      process.stdout.write('{"error":{"code":"OPERATION_UNKNOWN","reason":"-"}}');
      process.exitCode = 1;
    } else {
      const { readFileSync } = fs;
      fs.readFileSync = (file, ...rest) => (file === 0 ? asked : readFileSync(file, ...rest));
      eval(${JSON.stringify(code)});
    }`;
  return RemoteAdapter.connect(commands(['-e', described], timeoutMs, onFailure));
}

async function inspectedBy(code: string, timeoutMs?: number) {
  return (await connected(code, timeoutMs)).inspect();
}

function inOrderOf(names: readonly string[]) {
  return (one: string, other: string): number => names.indexOf(one) - names.indexOf(other);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // Ended and not yet collected counts as ended.
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

/**
 * The parent's end of one token child: forks it, sends one request at a time, checks each reply, and
 * kills what does not answer in time or answers nonsense. Once `alive` is false nothing of this
 * child counts any more; whoever wants a new one starts it.
 */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { isReply } from './child-messages.ts';
import type { Operation, Outcome } from './child-messages.ts';
import { TokenError } from './token.ts';

export type LossReason = 'exited' | 'timeout' | 'bad-reply' | 'session-lost' | 'closed';

export interface ChildLoss {
  pid: number;
  reason: LossReason;
  exitCode: number | null;
  signal: string | null;
  /** The last of what the child wrote to stderr, at most 2,048 characters. */
  stderrTail: string;
}

interface Pending {
  id: number;
  resolve: (outcome: Outcome) => void;
  reject: (error: TokenError) => void;
  timer: NodeJS.Timeout;
}

const childPath = fileURLToPath(new URL('./token-child.ts', import.meta.url));
const stderrCharactersMax = 2048;
/** SIGKILL takes effect at once unless the kernel holds the process in a device call. */
const killWaitMs = 1000;
/** All that a PKCS#11 library may see of our environment, besides what its options name. */
const environmentNames = [
  'PATH',
  'HOME',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'LD_LIBRARY_PATH',
  // More than half of what starting a child takes is reading its files.
  'NODE_COMPILE_CACHE',
];

export class TokenProcess {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #onLost: (loss: ChildLoss) => void;
  #reason: LossReason = 'exited';
  #alive = true;
  #pending: Pending | null = null;
  #lastId = 0;
  #stderrTail = '';

  private constructor(child: ChildProcess, pid: number, onLost: (loss: ChildLoss) => void) {
    this.pid = pid;
    this.#child = child;
    this.#onLost = onLost;
    this.#exited = new Promise((resolve) => {
      child.once('exit', (exitCode, signal) => {
        this.#exit(exitCode, signal);
        resolve();
      });
    });
    child.on('message', (message: unknown) => this.#receive(message));
    child.on('error', () => this.#abandon('exited'));
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stderrTail = (this.#stderrTail + chunk).slice(-stderrCharactersMax);
    });
  }

  /** TOKEN_UNREACHABLE if no process can be made. `onLost` is called once, when the child has ended. */
  static async start(options: {
    env: Readonly<Record<string, string>>;
    onLost: (loss: ChildLoss) => void;
  }): Promise<TokenProcess> {
    const child = fork(childPath, [], {
      env: childEnvironment(options.env),
      // Not the parent's flags: a debugger port or a loader has no business there.
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    if (child.pid !== undefined) return new TokenProcess(child, child.pid, options.onLost);
    const cause = await new Promise<Error>((resolve) => child.once('error', resolve));
    throw new TokenError('TOKEN_UNREACHABLE', 'cannot start the token child', { cause });
  }

  get alive(): boolean {
    return this.#alive;
  }

  /**
   * Rejects with TOKEN_TIMEOUT (and kills the child), TOKEN_UNREACHABLE (the child died or lost its
   * session), or with what the token answered. After the first two `alive` is false.
   */
  async request(operation: Operation, timeoutMs: number): Promise<Outcome> {
    assert(this.#pending === null, 'a token child takes one request at a time');
    if (!this.#alive) throw new TokenError('TOKEN_UNREACHABLE', 'the token child is gone');
    const id = ++this.#lastId;
    const outcome = await new Promise<Outcome>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#abandon('timeout');
      }, timeoutMs);
      this.#pending = { id, resolve, reject, timer };
      this.#child.send({ id, ...operation }, (error) => {
        if (error !== null) this.#abandon('exited');
      });
    });
    if (outcome.outcome !== 'failed') return outcome;
    if (outcome.code === 'TOKEN_UNREACHABLE') this.#abandon('session-lost');
    throw new TokenError(outcome.code, outcome.detail);
  }

  /** Asks the child to end its session, then makes sure that the process is gone. */
  async close(timeoutMs: number): Promise<void> {
    if (this.#alive && this.#pending === null) {
      try {
        await this.request({ op: 'close' }, timeoutMs);
      } catch (error) {
        // A token that cannot log out is left by killing its process, which comes next.
        if (!(error instanceof TokenError)) throw error;
      }
    }
    await this.kill();
  }

  /** Ends the process without asking it. */
  async kill(): Promise<void> {
    this.#abandon('closed');
    await this.gone();
  }

  /** Resolves when the process has ended, or after a second where the kernel cannot end it. */
  async gone(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const waited = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, killWaitMs);
    });
    await Promise.race([this.#exited, waited]);
    clearTimeout(timer);
  }

  #receive(message: unknown): void {
    const pending = this.#pending;
    if (!this.#alive || pending === null || !isReply(message) || message.id !== pending.id) {
      this.#abandon('bad-reply');
      return;
    }
    this.#pending = null;
    clearTimeout(pending.timer);
    pending.resolve(message);
  }

  #abandon(reason: LossReason): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#reason = reason;
    this.#child.kill('SIGKILL');
    this.#failPending();
  }

  #exit(exitCode: number | null, signal: string | null): void {
    this.#alive = false;
    this.#failPending();
    this.#onLost({
      pid: this.pid,
      reason: this.#reason,
      exitCode,
      signal,
      stderrTail: this.#stderrTail,
    });
  }

  #failPending(): void {
    const pending = this.#pending;
    if (pending === null) return;
    this.#pending = null;
    clearTimeout(pending.timer);
    const code = this.#reason === 'timeout' ? 'TOKEN_TIMEOUT' : 'TOKEN_UNREACHABLE';
    pending.reject(new TokenError(code, `the token child was lost (${this.#reason})`));
  }
}

function childEnvironment(extra: Readonly<Record<string, string>>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of environmentNames) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return { ...environment, ...extra };
}

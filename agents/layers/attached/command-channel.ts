/**
 * Anything that can be turned by programs, attached without a line of TypeScript: for each operation of
 * the adapter one program is run, which reads `{ "operation": "prepare", "slot": …, "version": … }`
 * and prints the answer, in the forms of the control socket (`serviceControls`). It exits with 0, or
 * prints `{ "error": { "code", "reason", "retryable" } }` and exits with another code.
 *
 * `inspect`, `prepare`, `activate`, `verify`, `rollback` and `retire` have to be there. To any other
 * operation a program may answer OPERATION_UNKNOWN; then a cautious default holds.
 */

import { serviceControlNames, serviceProblemCheck, type ServiceControl } from '#schemas/service.ts';
import { lengthPrefixed, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { Turns } from '#shared/runtime/turns.ts';
import { controlPath } from '../service/control-routes.ts';
import type { ControlChannel } from '../service/remote-adapter.ts';
import {
  ServiceError,
  type ServiceAnswer,
  type ServiceRequest,
} from '../service/service-client.ts';
import { outcomeText, runProgram, type ProgramOutcome, type ProgramSpec } from './program.ts';

export interface CommandChannelOptions extends ProgramSpec {
  readonly crypto: CryptoProvider;
}

const operations = new Map(serviceControlNames.map((name) => [controlPath(name), name]));

export class CommandChannel implements ControlChannel {
  readonly #options: CommandChannelOptions;
  /** One program at a time: what is attached need not stand two at once. */
  readonly #turns = new Turns();

  constructor(options: CommandChannelOptions) {
    this.#options = options;
  }

  /** @throws ServiceError PROGRAM_FAILED */
  async ask({ path, body }: ServiceRequest): Promise<ServiceAnswer> {
    const operation = operations.get(path);
    if (operation === undefined) throw new ServiceError('PEER_UNKNOWN', 'no such operation');
    return await this.#turns.take('program', () => this.#run(operation, body));
  }

  close(): void {
    // Programs end by themselves, or by their time limit.
  }

  async #run(operation: ServiceControl, body: unknown): Promise<ServiceAnswer> {
    const asked = typeof body === 'object' && body !== null ? body : {};
    const outcome = await runProgram(this.#options, JSON.stringify({ operation, ...asked }));
    if (outcome.status === 'failed') throw this.#failed(operation, outcome);
    const answer = parsed(outcome.output);
    if (answer === notJson) throw this.#failed(operation, outcome, ', and no JSON printed');
    if (serviceProblemCheck.check(answer)) {
      const { code, reason, retryable } = answer.error;
      const standard = code === 'OPERATION_UNKNOWN' ? this.#standard(operation) : undefined;
      if (standard !== undefined) return { status: 'done', body: standard };
      return { status: 'refused', code, reason, retryable: retryable ?? false };
    }
    if (outcome.exitCode === 0) return { status: 'done', body: answer };
    throw this.#failed(operation, outcome, ', and no reason printed');
  }

  /** What the program said of it goes to the agent's own log, and no further. */
  #failed(operation: ServiceControl, outcome: ProgramOutcome, more = ''): ServiceError {
    const { program, onFailure } = this.#options;
    const what = `${outcomeText(outcome)}${more}`;
    onFailure?.({ program, operation, what, complaint: outcome.complaint });
    return new ServiceError(
      'PROGRAM_FAILED',
      `the program ${program} failed at ${operation}: ${what}`,
    );
  }

  /** What holds where the program knows no answer. */
  #standard(operation: ServiceControl): unknown {
    const { crypto, program, arguments: words = [] } = this.#options;
    switch (operation) {
      case 'describe': {
        const parts = ['command-1', program, ...words].map(utf8);
        return { name: 'command', fingerprint: toHex(crypto.sha3_256(lengthPrefixed(...parts))) };
      }
      case 'uses-lately':
        return { uses: 0 };
      case 'samples':
        return { operations: 0, failures: 0, latencyPercent: 100 };
      case 'take-counts':
        return [];
      case 'measure':
      case 'configure':
        return {};
      default:
        return undefined;
    }
  }
}

const notJson = Symbol('what is no JSON');

function parsed(output: string): unknown {
  try {
    return JSON.parse(output === '' ? '{}' : output);
  } catch (error) {
    if (error instanceof SyntaxError) return notJson;
    throw error;
  }
}

/**
 * An operator on the bus: the command line acts as a principal with its own enrolled identity key, so
 * what it asks for is signed end to end and what it is told is authenticated. Questions go to one
 * orchestrator and, when that does not answer, to the other; requests are followed to their outcome.
 */
import type { TSchema, Static } from 'typebox';
import type { OrchCode } from '#schemas/errors.ts';
import type { EventBody } from '#schemas/events.ts';
import type { Query } from '#schemas/queries.ts';
import type { Validator } from '#schemas/primitives.ts';
import { BusError } from '#shared/bus/bus.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import { bootAgent, type BootedAgent } from '#shared/runtime/boot.ts';
import { learnFrom } from '#shared/runtime/document-questions.ts';
import { checks, type RequestOutcome } from './answers.ts';
import { CliFault, exitCodes, usageFault } from './fault.ts';
import type { MeshLayout } from './mesh/layout.ts';
import type { MeshFile } from './mesh/mesh-file.ts';
import { tryPort } from './mesh/ports.ts';
import { runningSupervisor } from './mesh/supervisor-record.ts';
import { orchestrationFault } from './orchestration-fault.ts';
import { typed } from './style.ts';
import type { Look } from './waiting.ts';

export type RequestName =
  | 'rotation-requested'
  | 'plan-approved'
  | 'execution-requested'
  | 'rollback-requested'
  | 'recovery-requested'
  | 'recovery-approved'
  | 'negotiation-requested';

export interface SessionOptions {
  readonly layout: MeshLayout;
  readonly mesh: MeshFile;
  readonly operatorId: string;
  /** For the whole command. */
  readonly timeoutMs: number;
}

const channel = 'operators';
const answerTimeoutMs = 4_000;
/** An agent holds a question open for so long at most; the answer needs a little more. */
export const longPollMs = 2_000;
/** Whoever does not answer within this time does not answer, as far as a notice goes. */
const lookTimeoutMs = 1_000;
const retryPauseMs = 150;
/** A bus that is there answers within this time, however long the command may wait. */
const connectMsMax = 30_000;
const retriedCodes: ReadonlySet<string> = new Set([
  'BUS_TIMEOUT',
  'BUS_NO_RESPONDER',
  'BUS_UNREACHABLE',
]);

export class OperatorSession {
  readonly operatorId: string;
  readonly deadlineMs: number;
  readonly #agent: BootedAgent;
  readonly #orchestrators: string[];
  #undecided = false;

  private constructor(agent: BootedAgent, { operatorId, timeoutMs }: SessionOptions) {
    this.operatorId = operatorId;
    this.deadlineMs = performance.now() + timeoutMs;
    this.#agent = agent;
    this.#orchestrators = agent.trust
      .agents()
      .filter(({ kind }) => kind === 'orchestrator')
      .map(({ agentId }) => agentId)
      .toSorted();
  }

  /** Faults with exit code 5 where the mesh does not run. */
  static async open(options: SessionOptions): Promise<OperatorSession> {
    const { layout, mesh, operatorId, timeoutMs } = options;
    if (!mesh.operators.includes(operatorId)) {
      throw usageFault(
        `there is no operator ${operatorId}`,
        `Operators of this mesh: ${mesh.operators.join(', ')}; name one with --as.`,
      );
    }
    const supervisor = await runningSupervisor(layout);
    if (supervisor === null && (await tryPort(mesh.port)) !== null) {
      throw new CliFault({
        code: 'MESH_NOT_RUNNING',
        reason: `the mesh in ${layout.root} does not run`,
        hint: `Start it: gyre up --detach --dir ${typed(layout.root)}`,
        exitCode: exitCodes.unreachable,
      });
    }
    const config = layout.configFile({ id: operatorId, kind: 'operator' });
    const connectTimeoutMs = Math.min(timeoutMs, connectMsMax);
    try {
      let learn = (): Promise<void> => Promise.resolve();
      const agent = await bootAgent(config, { connectTimeoutMs, catchUp: () => learn() });
      const session = new OperatorSession(agent, options);
      learn = () => session.#catchUp();
      // Documents first: the secrets come in answers that are sealed under the newest ones.
      await learn();
      await joinChannels(agent, timeoutMs);
      return session;
    } catch (error) {
      const isSilent = error instanceof BusError && error.code === 'BUS_UNREACHABLE';
      if (!isSilent || supervisor === null) throw error;
      throw busSilent(error, layout);
    }
  }

  get trust(): TrustView {
    return this.#agent.trust;
  }

  get crypto(): CryptoProvider {
    return this.#agent.crypto;
  }

  /**
   * Asks for channels to go on under fresh secrets; where they stand tells when they do. Of the request
   * itself nothing is heard but that it was not listened to: what comes back throws then.
   */
  async rekey(body: EventBody<'epoch-rotation-requested'>): Promise<() => Promise<void>> {
    const { exchange, trust } = this.#agent;
    const subject = subjectsOf(trust.mesh).request(this.operatorId);
    const event = { type: 'epoch-rotation-requested', subject, channel, body } as const;
    const { hash } = await exchange.publish(event);
    const query = { ask: 'request-outcome', request: hash, waitMs: 0 } as const;
    return async () => {
      const outcome = await this.askOrchestrator(query, checks.requestOutcome);
      if (outcome.status === 'refused') throw orchestrationFault(outcome.code, outcome.reason);
    };
  }

  /** Offers a signed document (UTF-8 JSON) to everyone; each verifies it by himself. */
  async offer(document: Uint8Array): Promise<void> {
    const { exchange, trust } = this.#agent;
    const subject = subjectsOf(trust.mesh).trust(this.operatorId);
    await exchange.publish({
      type: 'document-offered',
      subject,
      channel: noticesChannel,
      body: { document: new Uint8Array(document) },
    });
  }

  async close(): Promise<void> {
    await this.#agent.epochs.stop();
    await this.#agent.bus.close();
    this.#agent.signingKey.wipe();
  }

  /** Asks an orchestrator, whichever answers, until the command's time is up. */
  async askOrchestrator<Schema extends TSchema>(
    query: Query,
    check: Validator<Schema>,
  ): Promise<Static<Schema>> {
    for (;;) {
      const answer = await this.#askOnce(this.#orchestrators[0] ?? '', query);
      if (answer.ok) return checked(answer.result, check);
      if (!answer.isTransient) throw orchestrationFault(answer.code, answer.reason);
      this.#orchestrators.push(...this.#orchestrators.splice(0, 1));
      if (performance.now() + retryPauseMs > this.deadlineMs) throw unanswered(answer);
      await pause(retryPauseMs);
    }
  }

  /** Asks one agent once. */
  async askAgent<Schema extends TSchema>(
    agentId: string,
    query: Query,
    check: Validator<Schema>,
    timeoutMs = answerTimeoutMs,
  ): Promise<Static<Schema>> {
    const answer = await this.#askOnce(agentId, query, timeoutMs);
    if (answer.ok) return checked(answer.result, check);
    throw answer.isTransient ? unanswered(answer) : orchestrationFault(answer.code, answer.reason);
  }

  /** The ids of the enrolled orchestrators. */
  get orchestrators(): readonly string[] {
    return this.#orchestrators.toSorted();
  }

  /** Asks everybody whom a rotation needs, once and briefly: who hinders it, and how. */
  async look(): Promise<Look> {
    const hindranceOf = async <Schema extends TSchema>(
      agentId: string,
      { query, check }: { readonly query: Query; readonly check: Validator<Schema> },
      troubleOf: (value: Static<Schema>) => string | undefined = () => undefined,
    ): Promise<string[]> => {
      try {
        const trouble = troubleOf(await this.askAgent(agentId, query, check, lookTimeoutMs));
        return trouble === undefined ? [] : [`${agentId} ${trouble}`];
      } catch (error) {
        if (error instanceof BusError) return [`${agentId} cannot be asked (${error.code})`];
        if (!(error instanceof CliFault)) throw error;
        return [error.exitCode === exitCodes.unreachable ? error.reason : `${agentId} refuses`];
      }
    };
    const list = { query: { ask: 'rotation-list' }, check: checks.rotationList } as const;
    const describe = {
      query: { ask: 'signer-describe' },
      check: checks.signerDescription,
    } as const;
    const head = { query: { ask: 'audit-head' }, check: checks.auditHead } as const;
    const found = await Promise.all([
      ...this.orchestrators.map((id) => hindranceOf(id, list)),
      hindranceOf(this.agentOf('signer'), describe),
      hindranceOf(this.agentOf('auditor'), head, ({ trouble }) =>
        trouble === undefined ? undefined : `takes nothing in (${trouble})`,
      ),
    ]);
    return { hindrances: found.flat(), undecided: this.#undecided };
  }

  /** The id of the enrolled agent of a kind of which there is one. */
  agentOf(kind: 'signer' | 'auditor'): string {
    const agent = this.trust.agents().find((enrolled) => enrolled.kind === kind);
    if (agent !== undefined) return agent.agentId;
    throw new CliFault({
      code: 'NOT_ENROLLED',
      reason: `no ${kind} is enrolled in this mesh`,
      hint: 'Restore the trust bundle of the mesh.',
    });
  }

  /** Publishes a request and waits for what becomes of it: the plan's id, or the refusal's fault. */
  async request<Name extends RequestName>(
    type: Name,
    body: EventBody<Name>,
    planId?: string,
  ): Promise<string> {
    const { exchange, trust } = this.#agent;
    const subject = subjectsOf(trust.mesh).request(this.operatorId);
    const { hash } = await exchange.publish({ type, subject, channel, body });
    const query = { ask: 'request-outcome', request: hash, waitMs: longPollMs } as const;
    this.#undecided = true;
    for (;;) {
      const outcome: RequestOutcome = await this.askOrchestrator(query, checks.requestOutcome);
      this.#undecided = outcome.status === 'pending';
      if (outcome.status === 'accepted') return outcome.planId;
      if (outcome.status === 'refused') {
        throw orchestrationFault(outcome.code, outcome.reason, planId);
      }
      if (performance.now() > this.deadlineMs) throw undecided();
    }
  }

  /** Takes what this operator itself handed to the mesh into its own state. */
  async learn(document: Uint8Array): Promise<void> {
    await this.#agent.trustDesk.learn([document], this.operatorId, { isBlamed: false });
  }

  /**
   * Learns of the documents that were adopted since this operator last looked, from whoever answers
   * first; each is verified here and kept in the operator's own state. Without an answer what is known
   * stays in force.
   */
  async #catchUp(): Promise<void> {
    const honest = this.#orchestrators.filter((id) => !this.#agent.trustDesk.isLockedOut(id));
    const told = { timeoutMs: lookTimeoutMs, isBlamed: true };
    const answers = honest.map((id) => learnFrom(this.#agent, id, told));
    await Promise.any(answers).catch((error: unknown) => {
      if (!(error instanceof AggregateError)) throw error;
    });
  }

  async #askOnce(
    agentId: string,
    query: Query,
    timeoutMs = answerTimeoutMs,
  ): Promise<SingleAnswer> {
    try {
      const answer = await this.#agent.exchange.ask({ agentId, channel }, query, timeoutMs);
      if (answer.ok) return answer;
      const isTransient = answer.code === 'ORCH-8013';
      return { ok: false, isTransient, code: answer.code, reason: answer.reason };
    } catch (error) {
      if (!(error instanceof BusError) || !retriedCodes.has(error.code)) throw error;
      const reason = `${agentId} does not answer (${error.code})`;
      return { ok: false, isTransient: true, code: 'ORCH-8013', reason };
    }
  }
}

/** Secrets are not kept: the operator asks for those of its channels at each run. */
async function joinChannels(agent: BootedAgent, timeoutMs: number): Promise<void> {
  await agent.epochs.start();
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), timeoutMs);
  });
  const outcome = await Promise.race([agent.epochs.ready(), timeUp]);
  clearTimeout(timer);
  if (outcome !== 'late') return;
  await agent.epochs.stop();
  await agent.bus.close();
  throw new CliFault({
    code: 'CHANNELS_CLOSED',
    reason: "nobody gave the secrets of the operators' channel in time",
    hint: 'Look at the logs of the signer and the orchestrators; they hold the secrets.',
    exitCode: exitCodes.unreachable,
  });
}

type SingleAnswer =
  | { readonly ok: true; readonly result: unknown }
  | {
      readonly ok: false;
      readonly isTransient: boolean;
      readonly code: OrchCode;
      readonly reason: string;
    };

function checked<Schema extends TSchema>(
  result: unknown,
  check: Validator<Schema>,
): Static<Schema> {
  if (check.check(result)) return result;
  throw new CliFault({
    code: 'ANSWER_MALFORMED',
    reason: `an agent answered in a shape that gyre does not know: ${check.errors(result).join('; ')}`,
    hint: 'Use the gyre that started the mesh.',
  });
}

function unanswered({ code, reason }: { code: OrchCode; reason: string }): CliFault {
  return new CliFault({
    code,
    reason,
    hint: 'Look at gyre status; a mesh that has just started needs a moment.',
    exitCode: exitCodes.unreachable,
  });
}

/** The supervisor runs, so starting the mesh is not what helps. */
function busSilent(error: BusError, { root }: MeshLayout): CliFault {
  return new CliFault({
    code: error.code,
    reason: `the mesh runs, but its bus does not answer: ${error.message}`,
    hint: `Look at the nats-server in gyre status; gyre down and gyre up start it again (--dir ${typed(root)}).`,
    exitCode: exitCodes.unreachable,
    cause: error,
  });
}

function undecided(): CliFault {
  return new CliFault({
    code: 'TIMEOUT',
    reason: 'the request was stored, but no orchestrator has decided on it yet',
    hint: 'It still may; look at gyre rotation list before asking again.',
    exitCode: exitCodes.unreachable,
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

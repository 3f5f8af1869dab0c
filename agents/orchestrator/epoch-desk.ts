/** What can be asked of an orchestrator about epochs: secrets by members, where channels stand by operators. */

import type { EpochStatus } from '#schemas/epoch.ts';
import type { Query } from '#schemas/queries.ts';
import { activeEpoch, pendingEpoch } from '#shared/core/epoch.ts';
import type { Enrolled } from '#shared/crypto/trust.ts';
import { giveEpochSecrets } from '#shared/runtime/epoch-questions.ts';
import type { Answer } from '#shared/runtime/exchange.ts';
import type { EpochDriver, EpochPorts } from './epoch-driver.ts';
import type { EpochLog } from './epoch-log.ts';

export class EpochDesk {
  readonly #ports: EpochPorts;
  readonly #driver: EpochDriver;

  constructor(ports: EpochPorts, driver: EpochDriver) {
    this.#ports = ports;
    this.#driver = driver;
  }

  /** Undefined for what is asked about something else. */
  answer(query: Query, asker: Enrolled): Answer | undefined {
    if (query.ask === 'epoch-secrets') {
      const known = this.#ports.epochs.announcements;
      return giveEpochSecrets({ ...this.#ports, known }, asker, query);
    }
    if (query.ask !== 'epoch-status') return undefined;
    if (asker.kind !== 'operator') {
      return { ok: false, code: 'ORCH-8015', reason: 'only operators may ask where epochs stand' };
    }
    return {
      ok: true,
      result: { channels: this.#driver.logs().map((log) => this.#statusOf(log)) },
    };
  }

  #statusOf(log: EpochLog): EpochStatus {
    const { channel, state, messages } = log;
    const active = activeEpoch(state);
    const pending = pendingEpoch(state);
    const activatedAtMs = active?.activatedAtMs ?? null;
    const shown = active ?? pending;
    return {
      channel,
      epoch: active?.epoch ?? 0,
      ...(active === undefined ? {} : { cause: active.cause }),
      ...(activatedAtMs === null ? {} : { activatedAtMs }),
      open: state.epochs
        .filter(({ standing }) => standing !== 'announced')
        .map(({ epoch }) => epoch)
        .toReversed(),
      unaudited: this.#driver.unauditedOf(log).toReversed(),
      ...(pending === undefined ? {} : { pending: pending.epoch }),
      members: [...(shown?.members ?? [])],
      absent: [...(active?.absent ?? [])],
      messages,
    };
  }
}

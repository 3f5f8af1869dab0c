/**
 * The settings that a service works by: strict until it is told, kept on its disk before they hold, so
 * that a service which is started while its agent is down works by the last policy that it was told.
 */

import { serviceSettingsCheck, type ServiceSettings } from '#schemas/service.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { AdapterError } from '../adapter.ts';
import { keepDocument, keptDocument } from './kept-document.ts';

const file = 'settings.json';

/** What holds before any agent has spoken: everything that a policy may ask for is asked for. */
export const strictSettings: ServiceSettings = {
  policyVersion: 0,
  policyDigest: '0'.repeat(64),
  mfaRequired: true,
  tlsVersionMin: '1.3',
  hybridKeyExchangeRequired: true,
  tlsGroupExceptions: [],
  secondFactorMacs: [],
  aesKeyBitsMin: 256,
  overlapMs: 0,
};

export class KeptSettings {
  readonly #disk: Disk;
  #current: ServiceSettings;

  private constructor(disk: Disk, current: ServiceSettings) {
    this.#disk = disk;
    this.#current = current;
  }

  /** @throws AdapterError STORE_FAILED where what was kept is damaged */
  static open(disk: Disk): KeptSettings {
    return new KeptSettings(disk, keptDocument(disk, file, serviceSettingsCheck) ?? strictSettings);
  }

  get current(): ServiceSettings {
    return this.#current;
  }

  /** A policy older than the one in force is not gone back to. @throws AdapterError */
  adopt(settings: ServiceSettings): void {
    if (settings.policyVersion < this.#current.policyVersion) {
      const what = `policy ${settings.policyVersion} is older than ${this.#current.policyVersion}`;
      throw new AdapterError('STATE_CONFLICT', what);
    }
    if (settings.policyDigest === this.#current.policyDigest) return;
    keepDocument(this.#disk, file, settings);
    this.#current = settings;
  }
}

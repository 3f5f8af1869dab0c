/**
 * The settings that a service works by: strict until it is told, kept on its disk before they hold, so
 * that a service which is started while its agent is down works by the last policy that it was told.
 */

import { serviceSettingsCheck, type ServiceSettings } from '#schemas/service.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { AdapterError } from '../adapter.ts';

const file = 'settings.json';

/** What holds before any agent has spoken: everything that a policy may ask for is asked for. */
export const strictSettings: ServiceSettings = {
  policyVersion: 0,
  policyDigest: '0'.repeat(64),
  mfaRequired: true,
  tlsVersionMin: '1.3',
  hybridKeyExchangeRequired: true,
  tlsGroupExceptions: [],
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
    const bytes = disk.readFile(file);
    return new KeptSettings(disk, bytes === undefined ? strictSettings : read(bytes, disk));
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
    try {
      this.#disk.replaceFile(file, Buffer.from(JSON.stringify(settings)));
    } catch (cause) {
      throw new AdapterError('STORE_FAILED', 'the settings were not kept', {
        cause,
        retryable: true,
      });
    }
    this.#current = settings;
  }
}

function read(bytes: Uint8Array, disk: Disk): ServiceSettings {
  const settings = parsed(bytes);
  if (serviceSettingsCheck.check(settings)) return settings;
  throw new AdapterError('STORE_FAILED', `${disk.place(file)} does not hold settings`);
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    // Refused by the check, like everything that is not of the schema.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

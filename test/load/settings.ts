/** What a load is told by the environment. */

export interface LoadSettings {
  /** Of everything that is drawn: who is killed and when, which layers, what is written. */
  readonly seed: number;
  /** At least so long, and at least so many committed rotations. */
  readonly seconds: number;
  readonly rotations: number;
  readonly patients: number;
  /** `no`: the embedded database also where PostgreSQL is installed. */
  readonly usesPostgres: boolean;
  readonly kills: boolean;
}

/** @throws RangeError */
export function settingsOf(
  environment: Readonly<Record<string, string | undefined>>,
): LoadSettings {
  const whole = (name: string, otherwise: number, max: number): number => {
    const text = environment[name];
    const value = text === undefined || text === '' ? otherwise : Number(text);
    if (Number.isInteger(value) && value >= 0 && value <= max) return value;
    throw new RangeError(`${name} is a whole number from 0 to ${max}`);
  };
  return {
    seed: whole('GYRE_LOAD_SEED', Math.floor(Math.random() * 2 ** 32), 2 ** 53 - 1),
    seconds: whole('GYRE_LOAD_SECONDS', 120, 86_400),
    rotations: whole('GYRE_LOAD_ROTATIONS', 50, 10_000),
    patients: whole('GYRE_LOAD_PATIENTS', 2, 64),
    usesPostgres: environment['GYRE_POSTGRES'] !== 'no',
    kills: environment['GYRE_LOAD_KILLS'] !== 'no',
  };
}

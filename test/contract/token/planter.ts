/**
 * A process that makes keys in the token of its argument which are as good ones but for what is named,
 * and prints what the library's user (pkcs11-aes-key.ts) says of each: with the PIN, in a session of
 * its own, as whoever plants a key would.
 */
import { randomBytes } from 'node:crypto';
import { requireGoodKey } from '#shared/runtime/token/pkcs11-aes-key.ts';
import { loadLibrary, type Attribute, type Handle } from '#shared/runtime/token/pkcs11-library.ts';
import { logIn } from '#shared/runtime/token/pkcs11-slot.ts';
import { TokenError } from '#shared/runtime/token/token.ts';

export interface PlantedKey {
  readonly label: string;
  /** Attributes that are other than those of a good key, by type. */
  readonly changed: readonly (readonly [type: number, value: boolean | number])[];
  /** Of a value from outside the token, not made in it. */
  readonly isImported?: boolean;
}

const { libraryPath, label, pin, keys } = JSON.parse(process.argv[2] ?? '') as {
  readonly libraryPath: string;
  readonly label: string;
  readonly pin: string;
  readonly keys: readonly PlantedKey[];
};
const library = loadLibrary(libraryPath);
const { session } = logIn(library, { label, pin, writable: true });
const said = keys.map((key) => refusalOf(make(key)));
process.stdout.write(JSON.stringify(said));

function make({ label: name, changed, isImported = false }: PlantedKey): Handle {
  const attributes = new Map<number, boolean | number | string | Buffer>([
    [0x0, 4],
    [0x3, name],
    [0x102, Buffer.alloc(32)],
    [0x100, 0x1f],
    ...(isImported ? [[0x11, randomBytes(32)] as const] : [[0x161, 32] as const]),
    ...[0x1, 0x2, 0x103, 0x104, 0x105].map((type) => [type, true] as const),
    ...[0x162, 0x106, 0x107, 0x108, 0x10a, 0x10c, 0x170].map((type) => [type, false] as const),
    ...changed,
  ]);
  const template: Attribute[] = [...attributes].map(([type, value]) => ({ type, value }));
  if (!isImported) {
    const mechanism = { mechanism: attributes.get(0x100) === 0x10 ? 0x350 : 0x1080 };
    return library.C_GenerateKey(session, { ...mechanism, parameter: null }, template);
  }
  if (!('C_CreateObject' in library) || typeof library.C_CreateObject !== 'function') {
    throw new Error('the library brings nothing in');
  }
  return library.C_CreateObject(session, template) as Handle;
}

function refusalOf(key: Handle): string {
  try {
    requireGoodKey(library, session, key);
    return 'good';
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
    return `${error.code} ${error.message}`;
  }
}

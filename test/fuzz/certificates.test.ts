/**
 * What comes to layer 3 from outside: certificates and requests of any bytes (content or a code, never an
 * exception, and no forged proof), and paths of any text, none of which leads out of `/v1/`.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { targetOf } from '#agents/layers/3-network/forwarding-rules.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import {
  certificateBytesMax,
  chainFault,
  makeCertificate,
  makeCertificateRequest,
  openCertificateRequest,
  readCertificate,
} from '#shared/crypto/x509.ts';
import { anyBytes, mutated } from './inputs.ts';
import { timeoutMs, tries } from './runs.ts';

const crypto = createNativeProvider();
const names = ['localhost', '127.0.0.1'];
const nowMs = Date.UTC(2026, 0, 1);
const real: Uint8Array[] = [];
let publicKey: Uint8Array;
const other = new Uint8Array(2592);

beforeAll(async () => {
  const seed = crypto.randomBytes(32);
  const key = crypto.importSigningSeed(seed);
  publicKey = key.publicKey.raw;
  const order = {
    serial: '4711',
    subject: 'CN=server',
    issuer: 'CN=server',
    publicKey,
    issuerKey: publicKey,
    notBeforeMs: nowMs - 1_000,
    notAfterMs: nowMs + 1_000,
    names,
  };
  const sign = async (message: Uint8Array) =>
    crypto.sign(key, { message, context: new Uint8Array() });
  real.push(await makeCertificateRequest(crypto, { seed, names }));
  real.push(await makeCertificate(crypto, order, sign));
});

describe('certificates', { timeout: timeoutMs }, () => {
  test('requests', () => {
    fc.assert(
      fc.property(inputs(), (der) => {
        const opened = openCertificateRequest(crypto, der);
        // However the bytes around it are written: what was signed was not changed.
        const whole = { status: 'ok', publicKey, names };
        expect(opened.status === 'ok' ? opened : whole).toEqual(whole);
      }),
      tries(200),
    );
  });

  test('certificates', () => {
    fc.assert(
      fc.property(inputs(), (der) => {
        const content = readCertificate(der);
        if (content !== undefined) expect(content.publicKey.length).toBe(2592);
        const chain = { chain: [der], roots: real.slice(1), publicKey: other };
        expect(typeof chainFault(crypto, { ...chain, names, nowMs })).toBe('string');
      }),
      tries(200),
    );
  });

  test('what is too long is not looked at', () => {
    const long = new Uint8Array(certificateBytesMax + 1).fill(0x30);
    expect(readCertificate(long)).toBeUndefined();
    expect(openCertificateRequest(crypto, long).status).toBe('refused');
  });
});

describe('paths of forwarded requests', { timeout: timeoutMs }, () => {
  const words = '/ /v1/ identity phi .. . %2e %2E%2e \\ ? # @ : // internal a é'.split(' ');
  const text = fc
    .array(fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...words) }, fc.string()), {
      maxLength: 9,
    })
    .map((found) => found.join(''));

  test('lead to /v1/ of a layer, as the services read them, or nowhere', () => {
    const paths = fc.oneof(
      text,
      text.map((rest) => `/identity/v1/${rest}`),
    );
    fc.assert(
      fc.property(paths, (url) => {
        const target = targetOf('GET', url);
        const path = target?.path ?? '/v1/';
        expect(new URL(`http://localhost${path}`).pathname.startsWith('/v1/')).toBe(true);
        expect(path.startsWith('/v1/')).toBe(true);
      }),
      tries(500),
    );
  });
});

function inputs(): fc.Arbitrary<Uint8Array> {
  return fc.oneof(anyBytes, mutated(real));
}

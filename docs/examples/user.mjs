#!/usr/bin/env node
// A user of layers 1 and 2, for trying them by hand (docs/layers/1-identity.md): it keeps the user's
// ML-DSA-87 key and the secret of the second factor in one file and prints what the services want of
// them. With Node.js of 24.8 or newer and nothing else.
//
//   user.mjs FILE enrol            a new key and secret: the body of PUT /v1/admin/users/:subject
//   user.mjs FILE sign CHALLENGE   of POST /v1/challenges: the body of POST /v1/sessions
//
// Whoever has the file is the user: it is made with mode 0600 and belongs on a machine of his own.
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
} from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

const [file, operation, argument] = process.argv.slice(2);
if (file !== undefined && operation === 'enrol') print(enrol(file));
else if (file !== undefined && operation === 'sign' && argument !== undefined) {
  print(session(JSON.parse(readFileSync(file, 'utf8')), JSON.parse(argument)));
} else {
  process.stderr.write('usage: user.mjs FILE enrol | FILE sign CHALLENGE\n');
  process.exitCode = 2;
}

function enrol(path) {
  const { privateKey } = generateKeyPairSync('ml-dsa-87');
  const totpSecret = randomBytes(64).toString('base64url');
  const user = { key: privateKey.export({ format: 'jwk' }), totpSecret };
  writeFileSync(path, JSON.stringify(user), { mode: 0o600, flag: 'wx' });
  const { pub } = createPublicKey(privateKey).export({ format: 'jwk' });
  return { publicKey: pub, totpSecret };
}

/** The 32 bytes of the nonce under the context of logins, and the code of this half minute. */
function session({ key, totpSecret }, { challengeId, nonce }) {
  const signing = {
    key: createPrivateKey({ key, format: 'jwk' }),
    context: Buffer.from('gyre/v1/login'),
  };
  const signature = sign(null, Buffer.from(nonce, 'base64url'), signing).toString('base64url');
  return { challengeId, signature, otp: code(Buffer.from(totpSecret, 'base64url')) };
}

/** RFC 6238: HMAC-SHA-512, 8 digits, 30 seconds. */
function code(secret) {
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const mac = createHmac('sha512', secret).update(step).digest();
  const number = mac.readUInt32BE((mac.at(-1) ?? 0) & 0xf) & 0x7fff_ffff;
  return String(number % 10 ** 8).padStart(8, '0');
}

function print(body) {
  process.stdout.write(`${JSON.stringify(body)}\n`);
}

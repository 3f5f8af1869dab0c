// The two keys of layer 6 in one JSON file, attached to gyre: run once for each operation, with the
// question as JSON on standard input and the answer as JSON on standard output.
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

const file = process.argv[2] ?? 'keys.json';
const ask = JSON.parse(readFileSync(0, 'utf8'));
const refuse = (code, reason) => Promise.reject({ code, reason });
const sha3 = (text) => createHash('sha3-256').update(Buffer.from(text, 'base64url')).digest('hex');

function newKey(algorithm, version, state) {
  const isMac = algorithm === 'HMAC-SHA3-384';
  const pair = isMac ? undefined : generateKeyPairSync('ml-dsa-87').privateKey;
  const key = pair?.export({ format: 'jwk' }) ?? { k: randomBytes(48).toString('base64url') };
  const keyId = sha3(key.pub ?? sha3(key.k));
  const half = isMac ? {} : { publicKey: key.pub };
  return { version, keyId, publicDigest: keyId, ...half, state, createdAtMs: Date.now(), key };
}
function newSlot(slot, keyKind, algorithm) {
  const versions = [newKey(algorithm, 1, 'primary')];
  return { slot, keyKind, algorithm, frozen: false, highestVersion: 1, versions };
}
const slots = existsSync(file)
  ? JSON.parse(readFileSync(file, 'utf8'))
  : [
      newSlot('6/patient-mac', 'mac', 'HMAC-SHA3-384'),
      newSlot('6/consent-signature', 'signature', 'ML-DSA-87'),
    ];
const slot = slots.find((each) => each.slot === ask.slot);
const found = slot?.versions.find(({ version }) => version === ask.version);
const shown = (each) => ({ ...each, key: undefined });

const operations = {
  inspect: () => slots.map((each) => ({ ...each, versions: each.versions.map(shown) })),
  prepare() {
    if (found?.state === 'prepared' || found?.state === 'primary') return shown(found);
    if (ask.version <= slot.highestVersion) return refuse('STATE_CONFLICT', 'the number was used');
    slot.versions.unshift(newKey(slot.algorithm, ask.version, 'prepared'));
    slot.highestVersion = ask.version;
    return shown(slot.versions[0]);
  },
  activate() {
    if (!/^prepared|primary$/.test(found.state)) return refuse('STATE_CONFLICT', found.state);
    for (const each of slot.versions) if (each.state === 'primary') each.state = 'accepted';
    Object.assign(found, { state: 'primary', activatedAtMs: found.activatedAtMs ?? Date.now() });
    if (found.key.pub === undefined) return {};
    const context = Buffer.from('gyre/v1/activation');
    const signer = { key: found.key, format: 'jwk', context };
    return {
      proof: sign(null, Buffer.from(ask.challenge, 'base64url'), signer).toString('base64url'),
    };
  },
  verify: () => ({ ok: found.state === 'primary' }),
  rollback() {
    slot.versions = slot.versions.filter(({ state }) => state !== 'prepared');
    for (const each of slot.versions) if (each.version > ask.version) each.state = 'withdrawn';
    found.state = 'primary';
    return {};
  },
  retire() {
    if (found?.state === 'primary') return refuse('STATE_CONFLICT', 'it is in use');
    slot.versions = slot.versions.filter((each) => each !== found);
    return {};
  },
  freeze: () => (slot.frozen = ask.frozen) && {},
};

async function answer() {
  const isGone = ask.operation === 'retire' && ask.version <= slot?.highestVersion;
  if (operations[ask.operation] === undefined) return refuse('OPERATION_UNKNOWN', ask.operation);
  if (ask.slot && !slot) return refuse('SLOT_UNKNOWN', ask.slot);
  const needsKey = ask.version && ask.operation !== 'prepare';
  if (needsKey && !found && !isGone) return refuse('VERSION_UNKNOWN', `${ask.version}`);
  return operations[ask.operation]();
}
try {
  const text = JSON.stringify((await answer()) || {});
  writeFileSync(`${file}.new`, JSON.stringify(slots), { mode: 0o600, flush: true });
  renameSync(`${file}.new`, file);
  process.stdout.write(text);
} catch ({ code, reason }) {
  process.stdout.write(JSON.stringify({ error: { code, reason } }));
  process.exitCode = 1;
}

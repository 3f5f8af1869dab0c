"""Reads the testkit with Python's standard library alone, written from docs/protocol.md.

What needs ML-DSA-87 or BLAKE3 is not checked (seals, digests of events, data of leaves); all else is:
canonical MessagePack, bounds, header, key id, key schedule, commitment, ChaCha20-Poly1305, salts,
tree and digest of a batch over the given data of its leaves, length of a proof's path.
Prints a JSON list of {name, result, reads}; run: python3 -I test/testkit/decode.py
"""
import base64, hashlib, hmac, json, pathlib, re, struct, sys

FRAME_MAX, BODY_MAX, SAFE = 512 * 1024, 448 * 1024, 2**53 - 1

class Refused(Exception):
    pass

def need(holds, code="FRAME_MALFORMED"):
    if not holds:
        raise Refused(code)

# Canonical MessagePack: heads are (first byte, bytes of length) in rising size.
STR, BIN, ARR, MAP = [(0xD9, 1), (0xDA, 2), (0xDB, 4)], [(0xC4, 1), (0xC5, 2), (0xC6, 4)], [(0xDC, 2), (0xDD, 4)], [(0xDE, 2), (0xDF, 4)]
FIXED = {STR[0][0]: 31, ARR[0][0]: 15, MAP[0][0]: 15}

def decode(data, code="FRAME_MALFORMED", floats=False):
    at = 0
    def take(count):
        nonlocal at
        need(at + count <= len(data), code)
        at += count
        return data[at - count:at]
    def length(head, sizes):
        below = FIXED.get(sizes[0][0], -1)
        for first, size in sizes:
            if head == first:
                value = int.from_bytes(take(size), "big")
                need(value > below, code)
                return value
            below = 256**size - 1
        return None
    def integer(head):
        for bits, unsigned, signed in ((8, 0xCC, 0xD0), (16, 0xCD, 0xD1), (32, 0xCE, 0xD2), (64, 0xCF, 0xD3)):
            small = bits // 2 if bits > 8 else 0
            if head == unsigned:
                value = int.from_bytes(take(bits // 8), "big")
                need((2**small if small else 128) <= value <= SAFE, code)
                return value
            if head == signed:
                value = int.from_bytes(take(bits // 8), "big", signed=True)
                need(-SAFE <= value < (-(2**(small - 1)) if small else -32), code)
                return value
        return None
    def value(depth):
        head = take(1)[0]
        if head <= 0x7F: return head
        if head >= 0xE0: return head - 256
        if head in (0xC0, 0xC2, 0xC3): return {0xC0: None, 0xC2: False, 0xC3: True}[head]
        if head == 0xCB:
            number = struct.unpack(">d", take(8))[0]
            need(floats and number == number and abs(number) != float("inf") and not number.is_integer(), code)
            return number
        number = integer(head)
        if number is not None: return number
        size = head & 31 if 0xA0 <= head <= 0xBF else length(head, STR)
        if size is not None:
            try: text = take(size).decode("utf-8")
            except UnicodeDecodeError: raise Refused(code)
            need(not text.startswith("\ufeff"), code)
            return text
        size = length(head, BIN)
        if size is not None: return take(size)
        need(depth < 32, code)
        size = head & 15 if 0x90 <= head <= 0x9F else length(head, ARR)
        if size is not None:
            need(size <= len(data), code)
            return [value(depth + 1) for _ in range(size)]
        size = head & 15 if 0x80 <= head <= 0x8F else length(head, MAP)
        need(size is not None and size <= len(data), code)
        result, last = {}, None
        for _ in range(size):
            key = value(depth + 1)
            need(isinstance(key, str) and key not in ("__proto__", "constructor", "prototype"), code)
            order = key.encode("utf-16-be")
            need(last is None or last < order, code)
            result[key], last = value(depth + 1), order
        return result
    result = value(0)
    need(at == len(data), code)
    return result

NAME, TIME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*", 253402300799999
AGENT, ID = r"[a-z][a-z0-9-]{0,62}", r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
def text(pattern, most): return lambda v: isinstance(v, str) and len(v) <= most and re.fullmatch(pattern, v, re.A)
def whole(low, high): return lambda v: type(v) is int and low <= v <= high
def bytes_of(low, high=None): return lambda v: isinstance(v, bytes) and low <= len(v) <= (high or low)
HEADER = {"version": whole(1, 1), "suite": whole(1, 1), "lane": text("control|query|bulk", 7), "sender": text(AGENT, 63),
  "senderKeyId": bytes_of(32), "audience": text(AGENT, 63), "subject": text(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", 255),
  "channel": text(NAME, 63), "epoch": whole(0, SAFE), "incarnation": bytes_of(32), "counter": whole(1, 2**20),
  "previous": bytes_of(32), "registryVersion": whole(1, 2**32 - 1), "registryDigest": bytes_of(32),
  "policyVersion": whole(1, 2**32 - 1), "policyDigest": bytes_of(32), "type": text(NAME, 63), "schemaVersion": whole(1, 2**32 - 1),
  "timeMs": whole(0, TIME), "expiresMs": whole(0, TIME), "eventId": text(ID, 64)}
SEALED = {"header": bytes_of(1, 1024), "commitment": bytes_of(32), "seal": bytes_of(4627)}
FRAME = {**SEALED, "ciphertext": bytes_of(49, BODY_MAX + 48), "digest": bytes_of(32)}
SHOWN = {**SEALED, "ciphertextHash": bytes_of(64), "salt": bytes_of(32)}
DISCLOSURE = {**SHOWN, "body": bytes_of(1, BODY_MAX)}
PROOF = {**SHOWN, "ciphertextHash": bytes_of(32), "event": bytes_of(1, 4096), "index": whole(0, 255), "count": whole(1, 256),
  "path": lambda v: isinstance(v, list) and len(v) <= 8 and all(bytes_of(32)(item) for item in v)}

def fits(value, schema):
    return isinstance(value, dict) and value.keys() == schema.keys() and all(schema[key](value[key]) for key in schema)

def read_header(raw, kind, key_id):
    header = decode(raw)
    if not fits(header, HEADER):
        need(isinstance(header, dict))
        for field, code in (("version", "VERSION_UNKNOWN"), ("suite", "SUITE_UNKNOWN")):
            need(type(header.get(field)) is not int or header[field] == 1, code)
        raise Refused("FRAME_MALFORMED")
    need((header["lane"] == "bulk") == (kind in ("batch", "proof")), "LANE_MISMATCH")
    need(header["senderKeyId"] == key_id, "SIGNATURE_INVALID")
    return header

def keystream(key, nonce, count, counter):  # RFC 8439, section 2.4
    def turn(s, a, b, c, d):
        for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) & 0xFFFFFFFF
            mixed = s[z] ^ s[x]
            s[z] = (mixed << bits | mixed >> (32 - bits)) & 0xFFFFFFFF
    out = b""
    while len(out) < count:
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8L", key), counter, *struct.unpack("<3L", nonce)]
        s = list(start)
        for _ in range(10):
            for i in range(4): turn(s, i, 4 + i, 8 + i, 12 + i)
            for i in range(4): turn(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        out, counter = out + struct.pack("<16L", *((a + b) & 0xFFFFFFFF for a, b in zip(s, start))), counter + 1
    return out[:count]

def poly1305(key, data):  # RFC 8439, section 2.5
    r, total = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF, 0
    for i in range(0, len(data), 16):
        total = (total + int.from_bytes(data[i:i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")

def decrypt(header, frame, secret):
    scope = [header["channel"].encode(), header["epoch"].to_bytes(8, "big"), header["sender"].encode(),
      header["incarnation"], header["audience"].encode(), header["lane"].encode()]
    info = b"".join(len(part).to_bytes(2, "big") + part for part in scope)
    prk, block, out = hmac.digest(b"gyre/v1/channel", secret, "sha256"), b"", b""
    for i in (1, 2, 3):
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        out += block
    key, base, commitment = out[:32], out[32:44], out[44:76]
    need(hmac.compare_digest(commitment, frame["commitment"]), "COMMITMENT_MISMATCH")
    nonce = (int.from_bytes(base, "big") ^ header["counter"]).to_bytes(12, "big")
    body, tag = frame["ciphertext"][:-16], frame["ciphertext"][-16:]
    padded = b"".join(part + bytes(-len(part) % 16) for part in (frame["header"], body))
    expected = poly1305(keystream(key, nonce, 32, 0), padded + struct.pack("<QQ", len(frame["header"]), len(body)))
    need(hmac.compare_digest(expected, tag), "TAG_INVALID")
    return bytes(a ^ b for a, b in zip(body, keystream(key, nonce, len(body), 1)))

def sha256(data): return hashlib.sha256(data).digest()
def tree(leaves):  # RFC 9162, section 2.1.1
    if len(leaves) == 1: return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + tree(leaves[:split]) + tree(leaves[split:]))
def path_length(index, count):
    if count == 1: return 0
    split = 1 << (count - 1).bit_length() - 1
    return 1 + (path_length(index, split) if index < split else path_length(index - split, count - split))

def read_case(case, keys):
    kind, key_id = case["kind"], bytes.fromhex(keys["sender"]["keyId"])
    need(hashlib.sha3_256(base64.b64decode(keys["sender"]["publicKey"])).digest() == key_id, "SIGNATURE_INVALID")
    data = bytes(case["zeros"]) if "zeros" in case else base64.b64decode(case["bytes"])
    need(len(data) <= FRAME_MAX, "FRAME_TOO_LARGE")
    value = decode(data)
    need(fits(value, {"event": FRAME, "batch": FRAME, "disclosure": DISCLOSURE, "proof": PROOF}[kind]))
    header = read_header(value["header"], kind, key_id)
    reads = {"header": header, "headerHash": hashlib.sha3_512(value["header"]).digest()}
    if kind == "disclosure":
        return {**reads, "body": decode(value["body"], "BODY_MALFORMED", True)}
    if kind == "proof":
        index, count = value["index"], value["count"]
        need(index < count and path_length(index, count) == len(value["path"]), "PROOF_MALFORMED")
        return {**reads, "index": index, "count": count, "event": decode(value["event"], "BODY_MALFORMED", True)}
    of_ciphertext = hashlib.sha256 if kind == "batch" else hashlib.sha3_512
    reads.update(ciphertextHash=of_ciphertext(value["ciphertext"]).digest(), digest=value["digest"])
    plaintext = decrypt(header, value, bytes.fromhex(case.get("channelSecret", keys["channelSecret"])))
    salt, content = plaintext[:32], plaintext[32:]
    if kind == "event":
        return {**reads, "salt": salt, "body": decode(content, "BODY_MALFORMED", True)}
    events = decode(content, "BATCH_MALFORMED")
    need(isinstance(events, list) and 1 <= len(events) <= 256 and all(bytes_of(1, 4096)(e) for e in events), "BATCH_MALFORMED")
    stream = keystream(salt, b"gyre/v1/salt", 32 * len(events), 1)
    given = [bytes.fromhex(item) for item in case.get("data", [])]
    need(len(given) == len(events), "DIGEST_MISMATCH")
    root = tree([sha256(b"\x00" + item) for item in given])
    need(sha256(b"\x02" + len(events).to_bytes(4, "big") + root) == value["digest"], "DIGEST_MISMATCH")
    return {**reads, "count": len(events), "salts": [stream[i:i + 32] for i in range(0, len(stream), 32)],
      "root": root, "events": [decode(e, "BODY_MALFORMED", True) for e in events]}

def main():
    folder = pathlib.Path(__file__).parent
    keys, readings = json.loads((folder / "keys.json").read_text()), []
    for path in sorted((folder / "cases").glob("*.json")):
        case = json.loads(path.read_text())
        try: readings.append({"name": case["name"], "result": "ok", "reads": read_case(case, keys)})
        except Refused as refusal: readings.append({"name": case["name"], "result": str(refusal)})
    json.dump(readings, sys.stdout, default=bytes.hex)

main()

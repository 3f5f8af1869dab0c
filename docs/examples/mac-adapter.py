"""One MAC key (slot 2/nonce-mac) in a JSON file, attached to gyre. Python's standard library only."""
import hashlib, hmac, json, os, secrets, sys, time

FILE, SLOT = sys.argv[1], "2/nonce-mac"


class Refused(Exception):
    pass


def new_key(version, state):
    secret = secrets.token_bytes(48)
    key_id = hashlib.sha3_256(hmac.digest(secret, b"key id", "sha3_384")).hexdigest()
    return {"version": version, "keyId": key_id, "publicDigest": key_id, "state": state,
            "createdAtMs": int(time.time() * 1000), "secret": secret.hex()}


def shown(key):
    return {name: value for name, value in key.items() if name != "secret"}


def answer(ask, store):
    operation, version, keys = ask["operation"], ask.get("version"), store["versions"]
    key = next((each for each in keys if each["version"] == version), None)
    was_used = version is not None and version <= store["highestVersion"]
    if operation == "inspect":
        return [{"slot": SLOT, "keyKind": "mac", "algorithm": "HMAC-SHA3-384", **store,
                 "versions": [shown(each) for each in keys]}]
    if operation not in ("prepare", "activate", "verify", "rollback", "retire", "freeze"):
        raise Refused("OPERATION_UNKNOWN")
    if ask["slot"] != SLOT:
        raise Refused("SLOT_UNKNOWN")
    if operation == "freeze":
        return store.update(frozen=ask["frozen"])
    if operation == "prepare" and key is None and not was_used:
        store["highestVersion"] = version
        keys.insert(0, key := new_key(version, "prepared"))
    if operation == "prepare":
        if key is None or key["state"] not in ("prepared", "primary"):
            raise Refused("STATE_CONFLICT")
        return shown(key)
    if key is None and not (operation == "retire" and was_used):
        raise Refused("VERSION_UNKNOWN")
    if operation == "verify":
        return {"ok": key["state"] == "primary"}
    if operation == "retire" and key and key["state"] == "primary":
        raise Refused("STATE_CONFLICT")
    if operation == "retire":
        store["versions"] = [each for each in keys if each is not key]
    if operation == "activate" and key["state"] not in ("prepared", "primary"):
        raise Refused("STATE_CONFLICT")
    if operation in ("activate", "rollback"):
        for each in keys:
            if operation == "rollback" and each["version"] > version and each["state"] != "prepared":
                each["state"] = "withdrawn"
            elif operation == "activate" and each["state"] == "primary":
                each["state"] = "accepted"
        key["state"] = "primary"
        if operation == "rollback":
            store["versions"] = [each for each in keys if each["state"] != "prepared"]


first = {"frozen": False, "highestVersion": 1, "versions": []}
store = json.load(open(FILE)) if os.path.exists(FILE) else first
store["versions"] = store["versions"] or [new_key(1, "primary")]
try:
    text = json.dumps(answer(json.load(sys.stdin), store) or {})
    with open(FILE + ".new", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        json.dump(store, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(FILE + ".new", FILE)
    print(text)
except Refused as refused:
    print(json.dumps({"error": {"code": str(refused), "reason": "refused"}}))
    sys.exit(1)

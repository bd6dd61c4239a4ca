"""Makes a till of a join code, from docs/lanes.md: `activate.py CODE FOLDER` asks the hub for its place in the shop, and for its
certificate, which it puts into the folder with its key. What the hub answered is told on standard output."""

import base64, hashlib, json, pathlib, secrets, subprocess, sys, urllib.request, uuid

code, folder = json.loads(base64.urlsafe_b64decode(sys.argv[1].removeprefix("CF1-") + "===")), pathlib.Path(sys.argv[2])
node, token = str(uuid.uuid4()), secrets.token_hex(32)


def ask(path, body):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(code["u"] + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


folder.mkdir(parents=True)
(folder / "token").write_text(token)  # What is lost before the answer may be asked again, with the same token.
bound = ask("/v1/activate", {"node": node, "token_hash": hashlib.sha256(token.encode()).hexdigest(),
                             "admission": {"join_secret": code["s"]}, "schemas": {"book": 4, "catalog": 4}, "first": True})
key = folder / "key.pem"
subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout[-32:]
given = ask("/v1/lane-certificate", {"public_key": public.hex()})
(folder / "certificate.pem").write_text(given["certificate"])
(folder / "authority.pem").write_text(given["authority"])
print(json.dumps(bound | {"node": node}))

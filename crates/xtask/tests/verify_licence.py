"""Verifies a licence document by PyJWT, knowing only the public series file and the document.

verify_licence.py SERIES_FILE LICENCE_FILE: prints the claims as JSON and exits 0; exits 3 when
PyJWT refuses the document.
"""

import json
import sys

import jwt


def main(series_path, licence_path):
    with open(series_path, encoding="utf-8-sig") as file:
        described = json.load(file)
    descriptor = described[0] if isinstance(described, list) else described
    (signing,) = [key for key in descriptor["Keys"]["keys"] if key["crv"] == "Ed25519"]
    key = jwt.PyJWK(signing, algorithm="EdDSA")
    with open(licence_path, encoding="utf-8", errors="surrogateescape") as file:
        document = file.read().strip()
    try:
        claims = jwt.decode(document, key.key, algorithms=["EdDSA"], options={"require": ["iss", "sub", "iat"]})
    except (jwt.InvalidTokenError, UnicodeError) as why:
        print(f"refused: {why!r}")
        return 3
    print(json.dumps(claims))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

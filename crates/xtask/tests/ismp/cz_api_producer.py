"""py-cz-api, unchanged, signs in at the marking service and asks it about a code.

Arguments: a command that signs what stands on its standard input, instead of CryptoPro on Windows.
"""

import base64
import json
import subprocess
import sys

from py_cz_api import Api, Token


class Certificate:
    """What the library takes for a certificate: anything that signs a text."""

    def sign_data(self, data, encoding="ascii"):
        done = subprocess.run(
            sys.argv[1:], input=data.encode(encoding), stdout=subprocess.PIPE, check=True
        )
        return base64.b64encode(done.stdout).decode("ascii")


token = Token.create_from_cert(Certificate())
found = Api(token, "tobacco").cises_info(["0104600000000017210000001"])
left = token.time_left.total_seconds()
print(json.dumps({"token": token.value, "left": left, "claims": token.jwt, "found": found}))

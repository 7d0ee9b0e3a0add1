"""py-cz-api, unchanged, takes a token from a server and asks the marking service about a code with it.

Arguments: address, user, password. Exit code 3 when the server refuses, 4 when its answer is no JWT.
"""

import json
import sys

from jwt import DecodeError
from py_cz_api import Api, Token

try:
    token = Token.create_from_http(*sys.argv[1:])
except ConnectionError as error:
    print(error)
    sys.exit(3)
except DecodeError as error:
    print(error)
    sys.exit(4)
found = Api(token, "tobacco").cises_info(["0104600000000017210000001"])
print(json.dumps({"token": token.value, "found": found}))

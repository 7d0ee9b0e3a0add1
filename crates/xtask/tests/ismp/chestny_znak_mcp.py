"""chestny-znak-mcp-ru, unchanged, driven by mcp over its standard input and output.

Without arguments it asks the marking service about codes with the token in its environment; otherwise it
signs in there first, and the arguments are a command that signs what stands on its standard input.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

SERVER = StdioServerParameters(
    command=sys.executable, args=["-m", "crpt_mcp.server"], env=dict(os.environ)
)


async def call(session, tool, arguments):
    answer = await session.call_tool(tool, arguments)
    return json.loads(answer.content[0].text)


async def sign_in(session):
    key = await call(session, "crpt_call_method", {"operation_id": "crpt_gis_auth_key"})
    challenge = key["data"]
    done = subprocess.run(
        sys.argv[1:], input=challenge["data"].encode("ascii"), stdout=subprocess.PIPE, check=True
    )
    body = {"uuid": challenge["uuid"], "data": base64.b64encode(done.stdout).decode("ascii")}
    arguments = {"operation_id": "crpt_gis_auth_simplesignin", "body": body}
    unconfirmed = await call(session, "crpt_write_method", arguments)
    signed_in = await call(session, "crpt_write_method", {**arguments, "confirm_write": True})
    return {"unconfirmed": unconfirmed, "signed_in": signed_in}


async def main():
    async with stdio_client(SERVER) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            if sys.argv[1:]:
                said = await sign_in(session)
            else:
                arguments = {"operation_id": "crpt_gis_cises_info", "body": {}}
                said = await call(session, "crpt_call_method", arguments)
            print(json.dumps(said))


asyncio.run(main())

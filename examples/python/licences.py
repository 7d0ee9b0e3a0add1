#!/usr/bin/env python3
"""The REST API of a licence server from Python, with nothing but the standard library.

    licences.py keys [KEYID]              the keys: number, seats, term, state
    licences.py sessions [KEYID]          who holds a seat since when
    licences.py install CODE [ITN [IEC]]  installs the licence of an activation code
    licences.py end ID [REASON]           ends a session, so that its seat is free

LICENCE_SERVER  address of the server, http://localhost:9099 when it is not set
LICENCE_TOKEN   an API token (console, "Access", or POST /api/tokens)

Exit codes: 0 done, 1 the server refused or was not reached, 2 wrong usage.
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

# The longest call is an activation, which the server bounds at 30 s itself.
CALL_SECONDS = 40


class Refused(Exception):
    """The server's refusal: its class, for programs, and its text, for people."""

    def __init__(self, status, body):
        self.status = status
        self.kind = body.get("Exception", "")
        super().__init__(body.get("Message") or f"HTTP {status}")


class Server:
    def __init__(self, address, token):
        self.address = address.rstrip("/")
        self.token = token
        # No proxy of the surroundings: the token is for this server alone.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method, path, body=None, **query):
        """Calls the API and gives the JSON that it answers."""
        query = {name: value for name, value in query.items() if value}
        url = self.address + path
        if query:
            url += "?" + urllib.parse.urlencode(query)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Accept-Language", "en")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with self.opener.open(request, timeout=CALL_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            try:
                body = json.load(error)
            except ValueError:
                body = {}
            raise Refused(error.code, body) from None

    def keys(self, series=None):
        return self.call("GET", "/api/licences", KeyID=series)["Licences"]

    def sessions(self, series=None):
        return self.call("GET", "/api/sessions", KeyID=series)["Sessions"]

    def install(self, code, itn=None, iec=None):
        body = {"ActivationCodeString": code, "ITN": itn, "IEC": iec}
        body = {name: value for name, value in body.items() if value}
        return self.call("POST", "/api/licences", body)

    def end_session(self, session, reason=None):
        path = "/api/sessions/" + urllib.parse.quote(session, safe="")
        return self.call("DELETE", path, Reason=reason)


KINDS = {3: "main", 4: "additional", 5: "demo"}


def shown_key(key):
    state = "ready" if key["Enabled"] else key.get("OpenError") or "not usable"
    until = key["ExpireDate"] or "no end"
    kind = KINDS.get(key["KeyType"], key["KeyType"])
    return f'{key["KeyID"]} {key["KeyNo"]} {kind} seats={key["LicenceCount"]} {until} {state}'


def shown_session(session):
    seat = session["UsedLicence"] or "presence only"
    return f'{session["ID"]} {session["UserName"]} {session["ComputerName"]} key={seat}'


def main(arguments):
    if not arguments:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    token = os.environ.get("LICENCE_TOKEN")
    if not token:
        print("set LICENCE_TOKEN to an API token", file=sys.stderr)
        return 2
    server = Server(os.environ.get("LICENCE_SERVER", "http://localhost:9099"), token)
    command, *rest = arguments
    try:
        if command == "keys" and len(rest) <= 1:
            for key in server.keys(*rest):
                print(shown_key(key))
        elif command == "sessions" and len(rest) <= 1:
            for session in server.sessions(*rest):
                print(shown_session(session))
        elif command == "install" and 1 <= len(rest) <= 3:
            print(shown_key(server.install(*rest)))
        elif command == "end" and 1 <= len(rest) <= 2:
            print(shown_session(server.end_session(*rest)))
        else:
            print(__doc__.strip(), file=sys.stderr)
            return 2
    except (Refused, OSError) as why:
        print(why, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

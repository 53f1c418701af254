"""Signed orders for `protege-deploy run --commands udp:47801 --key-file udp.key`, with the standard library alone."""

import hmac
import json
import socket
from pathlib import Path

key = Path("udp.key").read_bytes().strip()
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.connect(("127.0.0.1", 47801))
sequence, session = 0, ""


def say(**message: object) -> dict:
    """Send a message; the answer."""
    global sequence, session
    sequence += 1
    text = json.dumps({"sequence": sequence, "session": session, **message}).encode()
    link.send(b"PRTG2 " + hmac.digest(key, text, "sha256").hex().encode() + b" " + text)
    answer = json.loads(link.recv(65536).split(b" ", 2)[2])
    session = answer["session"]
    return answer


say()  # learns the session
print(say(order={"steering": {"speed": 1.0}}), say(stop=True))

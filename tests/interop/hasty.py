"""A program: serialnet's command line, which takes who is silent for dead sooner than it usually does.

python hasty.py SECONDS COMMAND...
"""

import socket
import sys

from serialnet.cli import main
from serialnet.serving import _guest
from serialnet.transports import relay, tcp

if __name__ == "__main__":
    part = int(sys.argv[1]) // 3
    tcp.OPTIONS_HERE = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, part),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, part),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3 * part * 1000),
    ]
    _guest.HEARTBEAT = _guest.ANSWER = part
    relay.SILENCE = 3 * part
    sys.exit(main(sys.argv[2:]))

"""A program: serialnet's command line, which takes who is silent for dead sooner than it usually does.

python hasty.py SECONDS COMMAND...
"""

import sys

from serialnet.cli import main
from serialnet.serving import _guest
from serialnet.transports import relay, tcp

if __name__ == "__main__":
    part = int(sys.argv[1]) // 3
    tcp.KEEPALIVE_IDLE, tcp.KEEPALIVE_INTERVAL, tcp.KEEPALIVE_COUNT = part, part, 2
    tcp.USER_TIMEOUT = 3 * part
    _guest.HEARTBEAT = _guest.ANSWER = part
    relay.SILENCE = 3 * part
    sys.exit(main(sys.argv[2:]))

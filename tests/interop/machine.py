"""A program: serialnet's command line on a machine whose USB devices are those of the test that starts it.

python machine.py LISTING COMMAND...
"""

import sys
from pathlib import Path

from serialnet.cli import main
from serialnet.port_list import use_source
from serialnet.testing.usb import ports_in

if __name__ == "__main__":
    with use_source(ports_in(Path(sys.argv[1]))):
        sys.exit(main(sys.argv[2:]))

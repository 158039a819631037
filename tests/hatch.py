"""A process of ``llm-hub`` without the second of work that its imports cost: it asks the nursery of tests/clusters.py
to fork one, hands it what it has inherited, passes signals on, and ends as that does.

Run alone, without site-packages: ``python -I -S hatch.py SOCKET serve …``
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    place, *arguments = sys.argv[1:]
    inherited = [1, 2]
    if "--worker" in arguments:
        inherited += [int(number) for number in arguments[-2:]]
    line = socket.socket(socket.AF_UNIX)
    line.connect(place)
    environ = {name: value for name, value in os.environ.items() if name.startswith("LLMHUB_")}
    socket.send_fds(line, [json.dumps([arguments, environ]).encode() + b"\n"], inherited)
    pid = int(line.recv(16))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, lambda got, _: os.kill(pid, got))
    for each in inherited:
        os.close(each)  # their ends are the other's to tell
    sys.exit(int(line.recv(16) or 1))


if __name__ == "__main__":
    main()

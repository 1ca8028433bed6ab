"""ns-3, as Debian packages it: UDP packets through a router, and short TCP connections."""

from pathlib import Path

from measure import PROGRAMS, Failed, Missing, call, need

NAME = "ns-3"
LIBRARIES = ["internet", "point-to-point", "traffic-control", "network", "core"]


class Peer:
    """The two programs of `programs/`, built against libns3-dev."""

    def __init__(self, pinned, sizes, folder):
        self.pinned = pinned
        self.sizes = sizes
        self.folder = folder

    def __enter__(self):
        need("g++", "g++")
        if not Path("/usr/include/ns3/core-module.h").exists():
            raise Missing("the headers of ns-3 are missing: apt-get install libns3-dev")
        for name in ("udp", "tcp"):
            libraries = [f"-lns3-{library}" for library in LIBRARIES]
            try:
                source = PROGRAMS / f"{name}.cc"
                call(["g++", "-O2", "-std=c++17", "-o", self.folder / name, source, *libraries])
            except Failed as failed:
                raise Missing(f"ns-3 cannot be linked (apt-get install libns3-dev): {failed}") from None
        return self

    def __exit__(self, *_):
        pass

    @staticmethod
    def version():
        """Returns the version of the package."""
        return call(["dpkg-query", "-W", "-f", "${Package} ${Version}", "libns3-dev"])

    def udp(self):
        """Packets per second from 100 flows."""
        packets = self.sizes.udp_packets
        command = [self.folder / "udp", "--flows=100", f"--packets={packets // 100}", "--interval=10ms"]
        found, seconds = self.pinned.run(command)
        return {"rate": found["packets"] / seconds, "events": found["events"] / seconds}

    def tcp(self, connections, lifetime):
        """Connections per second, 1 000 of which start in a second of virtual time."""
        command = [self.folder / "tcp", f"--connections={connections}", "--interval=1ms"]
        found, seconds = self.pinned.run([*command, f"--lifetime={lifetime}"])
        return {"rate": found["connections"] / seconds, "events": found["events"] / seconds}

    def measures(self):
        """Returns what is measured, by name."""
        return {
            "ns3.udp": self.udp,
            "ns3.tcp": lambda: self.tcp(self.sizes.ns3_connections, "120s"),
            "ns3.tcp-short-wait": lambda: self.tcp(2 * self.sizes.ns3_connections, "5ms"),
        }

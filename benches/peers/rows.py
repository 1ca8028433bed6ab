"""The rows of the table: which figure of a peer stands beside which of ours.

A figure is named `measure/name`, as in `kernel.full/ns_98`; `engine.full/single/ns_98` looks one level deeper.
"""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Row:
    """One comparison. Either side may be missing: a figure that stands alone."""

    work: str
    unit: str
    peer_is: str
    peer: Optional[str] = None
    ours_is: str = ""
    ours: Optional[str] = None
    # What is taken off the peer's figure: the work that ours does not do.
    minus: Optional[str] = None

    def is_rate(self):
        """Tells whether more is faster."""
        return self.unit.endswith("/s")


def grouped(number):
    """Writes a whole number with a space between its thousands."""
    return f"{number:,}".replace(",", " ")


def simulators():
    """What ns-3 does, too."""
    whole = "whole run with NAT and load balancer"
    packets, connections = "packets/s", "connections/s"
    udp, tcp = "UDP packets, 200 bytes", "TCP connections, 200 bytes there and 1 000 back"
    plain, short = "router, no NAT; TIME_WAIT 240 s", "router, no NAT; TIME_WAIT 10 ms"
    return [
        Row(f"{udp}, 100 flows", packets, "router, no NAT", "ns3.udp/rate", whole, "plsim.udp/rate"),
        Row(
            f"{udp}, 64 512 flows (ns-3: 100)",
            packets,
            "router, no NAT",
            "ns3.udp/rate",
            whole,
            "plsim.udp-flows/rate",
        ),
        Row(tcp, connections, plain, "ns3.tcp/rate", f"light TCP, {whole}", "plsim.tcp-light/rate"),
        Row(tcp, connections, short, "ns3.tcp-short-wait/rate", f"light TCP, {whole}", "plsim.tcp-light/rate"),
        Row(tcp, connections, short, "ns3.tcp-short-wait/rate", f"full TCP, {whole}", "plsim.tcp-full/rate"),
    ]


def kernel(sizes):
    """What nftables in the Linux kernel does, too."""
    rows = [
        Row("generator and veth alone", "ns/packet", "all of it", "kernel.alone/ns"),
        Row("plain forwarding, no NAT", "ns/packet", "all of it", "kernel.plain/ns"),
    ]
    paces = (("single", "engine, one at a time"), ("slices", "engine, slices of 32"))
    less = "without plain forwarding"
    for kind, unit in (("known", "ns/packet"), ("new", "ns/flow")):
        for way, title in (("snat", "SNAT"), ("dnat-snat", "DNAT and SNAT")):
            for flows in sizes.flows:
                work = f"{kind} flow, {title}, {grouped(flows)} flows"
                for pace, ours in paces:
                    name = f"{kind}.{way}.{flows}"
                    figures = f"kernel.{name}/ns", ours, f"engine.{name}/{pace}", "kernel.plain/ns"
                    rows.append(Row(work, unit, less, *figures))
        whole = {"known": "plsim.udp-flows/ns", "new": "plsim.new/ns"}[kind]
        flows = sizes.flows[0] if kind == "known" else sizes.flows[-1]
        work = f"{kind} flow, the whole way"
        figures = f"kernel.{kind}.dnat-snat.{flows}/ns", "whole run, UDP", whole
        rows.append(Row(work, unit, "DNAT and SNAT, all of it", *figures))
    return rows + exhaustion(paces, less)


def exhaustion(paces, less):
    """One NAT IP that runs out of its 64 512 ports."""
    rows = []
    for level in (90, 98, 100):
        what = f"a flow more with {level} % of the ports taken"
        for pace, ours in paces:
            figures = f"kernel.full/ns_{level}", ours, f"engine.full/{pace}/ns_{level}", "kernel.plain/ns"
            rows.append(Row(what, "ns/flow", less, *figures))
        figures = f"kernel.full/refused_{level}", paces[0][1], f"engine.full/single/refused_{level}"
        rows.append(Row(what, "share refused", "", *figures))
    every = "all ports of a NAT IP, from the first to the last"
    rows.append(Row(every, "attempts", "", "kernel.full/attempts", paces[0][1], "engine.full/single/attempts"))
    for ours, figure in (
        (paces[0][1], "engine.full/single/fill_ns"),
        (paces[1][1], "engine.full/slices/fill_ns"),
        ("whole run, UDP", "plsim.full/ns"),
    ):
        rows.append(Row(every, "ns/port", "all of it", "kernel.full/fill_ns", ours, figure))
    return rows

// UDP packets from a client over a router to a server, as cheaply as ns-3 can: sockets without
// applications around them, static routes, no queue disciplines, no traces, no checksums.
//
// Prints {"packets": those that arrived, "events": those of the simulator}; who runs it takes the time.

#include <iostream>
#include <vector>

#include "ns3/core-module.h"
#include "ns3/internet-module.h"

#include "path.h"

using namespace ns3;

namespace
{

constexpr uint32_t SIZE = 200;
uint64_t g_arrived = 0;

void
Receive(Ptr<Socket> socket)
{
    while (socket->Recv())
    {
        ++g_arrived;
    }
}

void
Send(Ptr<Socket> socket, Time interval, uint64_t left)
{
    socket->Send(Create<Packet>(SIZE));
    if (left > 1)
    {
        Simulator::Schedule(interval, &Send, socket, interval, left - 1);
    }
}

} // namespace

int
main(int argc, char* argv[])
{
    uint32_t flows = 100;
    uint64_t packets = 5000;
    Time interval = MilliSeconds(10);
    CommandLine command(__FILE__);
    command.AddValue("flows", "how many flows, each from a socket of its own", flows);
    command.AddValue("packets", "packets of each flow", packets);
    command.AddValue("interval", "from one packet of a flow to its next", interval);
    command.Parse(argc, argv);

    peers::Path path;
    auto type = TypeId::LookupByName("ns3::UdpSocketFactory");
    auto server = Socket::CreateSocket(path.Server(), type);
    server->Bind(InetSocketAddress(Ipv4Address::GetAny(), peers::PORT));
    server->SetRecvCallback(MakeCallback(&Receive));

    std::vector<Ptr<Socket>> clients;
    for (uint32_t flow = 0; flow < flows; ++flow)
    {
        auto client = Socket::CreateSocket(path.Client(), type);
        client->Connect(path.Address());
        // As plsim starts them: one after the other within the first interval.
        Simulator::Schedule(interval * flow / flows, &Send, client, interval, packets);
        clients.push_back(client);
    }
    Simulator::Run();
    std::cout << "{\"packets\": " << g_arrived << ", \"events\": " << Simulator::GetEventCount()
              << "}" << std::endl;
    Simulator::Destroy();
    return g_arrived == flows * packets ? 0 : 1;
}

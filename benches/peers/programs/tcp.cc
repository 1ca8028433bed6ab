// Short TCP connections from a client over a router to a server: handshake, 200 bytes of request, 1000
// of response, FIN both ways. ns-3's own TCP, without traces or checksums.
//
// Prints {"connections": those that ended well, "events": those of the simulator}.

#include <functional>
#include <iostream>

#include "ns3/core-module.h"
#include "ns3/internet-module.h"

#include "path.h"

using namespace ns3;

namespace
{

constexpr uint32_t REQUEST = 200;
constexpr uint32_t RESPONSE = 1000;

// Takes what has come and returns its size.
uint32_t
Read(Ptr<Socket> socket)
{
    uint32_t size = 0;
    while (auto packet = socket->Recv())
    {
        size += packet->GetSize();
    }
    return size;
}

// Answers each request when all of it has come; closes when the client has.
class Server
{
  public:
    explicit Server(const peers::Path& path)
    {
        auto type = TypeId::LookupByName("ns3::TcpSocketFactory");
        m_listener = Socket::CreateSocket(path.Server(), type);
        m_listener->Bind(InetSocketAddress(Ipv4Address::GetAny(), peers::PORT));
        m_listener->Listen();
        m_listener->SetAcceptCallback(MakeNullCallback<bool, Ptr<Socket>, const Address&>(),
                                      MakeCallback(&Server::Accept, this));
    }

  private:
    void Accept(Ptr<Socket> socket, const Address&)
    {
        socket->SetRecvCallback(MakeCallback(&Server::Receive, this));
        socket->SetCloseCallbacks(MakeCallback(&Server::Close, this),
                                  MakeNullCallback<void, Ptr<Socket>>());
    }

    void Receive(Ptr<Socket> socket)
    {
        // A request is one segment.
        if (Read(socket) == REQUEST)
        {
            socket->Send(Create<Packet>(RESPONSE));
        }
    }

    void Close(Ptr<Socket> socket)
    {
        socket->Close();
    }

    Ptr<Socket> m_listener;
};

// Opens connections at a steady rate; each asks, and closes when all of the response has come.
class Clients
{
  public:
    Clients(const peers::Path& path, uint64_t count, Time interval)
        : m_path(path),
          m_left(count),
          m_interval(interval)
    {
        Simulator::ScheduleNow(&Clients::Open, this);
    }

    uint64_t Ended() const
    {
        return m_ended;
    }

  private:
    void Open()
    {
        auto socket =
            Socket::CreateSocket(m_path.Client(), TypeId::LookupByName("ns3::TcpSocketFactory"));
        socket->SetConnectCallback(MakeCallback(&Clients::Connected, this),
                                   MakeNullCallback<void, Ptr<Socket>>());
        socket->SetRecvCallback(MakeCallback(&Clients::Receive, this));
        socket->SetCloseCallbacks(MakeCallback(&Clients::Closed, this),
                                  MakeNullCallback<void, Ptr<Socket>>());
        socket->Connect(m_path.Address());
        if (--m_left > 0)
        {
            Simulator::Schedule(m_interval, &Clients::Open, this);
        }
    }

    void Connected(Ptr<Socket> socket)
    {
        socket->Send(Create<Packet>(REQUEST));
    }

    void Receive(Ptr<Socket> socket)
    {
        // A response is two segments of at most 536 bytes, ns-3's default.
        auto& got = m_got[socket];
        got += Read(socket);
        if (got == RESPONSE)
        {
            m_got.erase(socket);
            socket->Close();
        }
    }

    void Closed(Ptr<Socket>)
    {
        ++m_ended;
    }

    const peers::Path& m_path;
    std::map<Ptr<Socket>, uint32_t> m_got;
    uint64_t m_left;
    uint64_t m_ended = 0;
    Time m_interval;
};

} // namespace

int
main(int argc, char* argv[])
{
    uint64_t connections = 5000;
    Time interval = MicroSeconds(10);
    Time lifetime = Seconds(120);
    CommandLine command(__FILE__);
    command.AddValue("connections", "how many connections", connections);
    command.AddValue("interval", "from the start of one to the start of the next", interval);
    command.AddValue("lifetime", "of a segment; TIME_WAIT lasts twice as long", lifetime);
    command.Parse(argc, argv);

    Config::SetDefault("ns3::TcpSocket::SegmentSize", UintegerValue(1460));
    Config::SetDefault("ns3::TcpSocketBase::MaxSegLifetime", DoubleValue(lifetime.GetSeconds()));
    peers::Path path;
    Server server(path);
    Clients clients(path, connections, interval);
    Simulator::Run();
    std::cout << "{\"connections\": " << clients.Ended()
              << ", \"events\": " << Simulator::GetEventCount() << "}" << std::endl;
    Simulator::Destroy();
    return clients.Ended() == connections ? 0 : 1;
}

// What both programs have: client - router - server, 0.72 ms one way, as plsim's default path.

#pragma once

#include "ns3/core-module.h"
#include "ns3/internet-module.h"
#include "ns3/network-module.h"
#include "ns3/point-to-point-module.h"
#include "ns3/traffic-control-module.h"

namespace peers
{

constexpr uint16_t PORT = 443;

class Path
{
  public:
    Path()
    {
        m_nodes.Create(3);
        ns3::Ipv4StaticRoutingHelper routing;
        ns3::InternetStackHelper stack;
        stack.SetRoutingHelper(routing);
        stack.SetIpv6StackInstall(false);
        stack.Install(m_nodes);

        auto near = Link(0, 1, "10.1.0.0");
        auto far = Link(1, 2, "10.2.0.0");
        m_server = far.GetAddress(1);
        Routing(0)->SetDefaultRoute(near.GetAddress(1), 1);
        Routing(2)->SetDefaultRoute(far.GetAddress(0), 1);
    }

    ns3::Ptr<ns3::Node> Client() const
    {
        return m_nodes.Get(0);
    }

    ns3::Ptr<ns3::Node> Server() const
    {
        return m_nodes.Get(2);
    }

    // Where the server listens.
    ns3::InetSocketAddress Address() const
    {
        return ns3::InetSocketAddress(m_server, PORT);
    }

  private:
    ns3::Ipv4InterfaceContainer Link(uint32_t from, uint32_t to, const char* network)
    {
        ns3::PointToPointHelper link;
        link.SetDeviceAttribute("DataRate", ns3::StringValue("100Gbps"));
        link.SetChannelAttribute("Delay", ns3::StringValue("360us"));
        link.SetQueue("ns3::DropTailQueue", "MaxSize", ns3::StringValue("100000p"));
        auto devices = link.Install(m_nodes.Get(from), m_nodes.Get(to));
        ns3::Ipv4AddressHelper addresses(network, "255.255.255.0");
        auto interfaces = addresses.Assign(devices);
        // Queue disciplines, which Assign has installed, cost time and serve nobody here.
        ns3::TrafficControlHelper().Uninstall(devices);
        return interfaces;
    }

    ns3::Ptr<ns3::Ipv4StaticRouting> Routing(uint32_t node) const
    {
        auto ipv4 = m_nodes.Get(node)->GetObject<ns3::Ipv4>();
        return ns3::Ipv4StaticRoutingHelper().GetStaticRouting(ipv4);
    }

    ns3::NodeContainer m_nodes;
    ns3::Ipv4Address m_server;
};

} // namespace peers

// Sends TCP packets of many flows through a router in a network namespace, and takes the time.
//
//   traffic PREFIX alone PACKETS             to the router's port, which drops them: generator and veth alone
//   traffic PREFIX known FLOWS PACKETS DST   packets of connections that are established first (not timed)
//   traffic PREFIX plain FLOWS PACKETS DST   the same packets without handshakes, for a router without NAT
//   traffic PREFIX new FLOWS DST             a SYN of each flow
//   traffic PREFIX full PORTS                SYNs until all ports are taken, timed at 90, 98 and 100 %
//
// PREFIX-client, PREFIX-router and PREFIX-server are the namespaces; DST is how many server addresses there are,
// 10.2.1.1 and on, or 0 for the virtual address 10.2.0.100. Raw frames go out of the client's eth0; the server's
// eth0 drops what arrives, because its Ethernet address is nobody's, and counts it. All of it happens on the
// processor that this program is pinned to. Prints one line of JSON.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "flush.h"

enum { BATCH = 32, SYN = 2, ACK = 16 };

struct frame {
    struct ether_header ethernet;
    struct iphdr ip;
    struct tcphdr tcp;
} __attribute__((packed));

static const uint8_t ROUTER[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t NOBODY[6] = {2, 0, 0, 0, 0, 255};

static const char *prefix;
static int client, server, counter, bindings;
static uint32_t destinations;
static uint64_t patience = 50000000;
static struct frame frames[BATCH];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static void enter(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "/var/run/netns/%s-%s", prefix, name);
    int space = open(path, O_RDONLY);
    if (space < 0 || setns(space, CLONE_NEWNET) != 0)
        fail("cannot enter %s", path);
    close(space);
}

// A socket for raw frames of this namespace's eth0; it takes what arrives of a protocol, 0 for nothing.
static int raw(int protocol)
{
    int it = socket(AF_PACKET, SOCK_RAW, htons(protocol));
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(protocol),
                                  .sll_ifindex = (int)if_nametoindex("eth0")};
    int yes = 1;
    if (it < 0 || bind(it, (void *)&address, sizeof address) != 0 ||
        setsockopt(it, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes) != 0)
        fail("no socket for raw frames");
    return it;
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// How many packets have come to the counting device: the fourth word of "eth0: bytes packets".
static uint64_t arrived(const char *device)
{
    char text[4096], name[32];
    ssize_t length = pread(counter, text, sizeof text - 1, 0);
    if (length <= 0)
        fail("cannot read counters");
    text[length] = 0;
    snprintf(name, sizeof name, "%s:", device);
    const char *line = strstr(text, name);
    unsigned long long bytes, packets;
    if (!line || sscanf(line + strlen(name), "%llu %llu", &bytes, &packets) != 2)
        fail("no counters of %s", device);
    return packets;
}

static uint64_t bound(void)
{
    char text[32] = "";
    if (pread(bindings, text, sizeof text - 1, 0) <= 0)
        fail("cannot count the router's connections");
    return strtoull(text, NULL, 10);
}

static uint32_t sum(const void *data, size_t length, uint32_t from)
{
    const uint8_t *bytes = data;
    for (size_t at = 0; at < length; at += 2)
        from += (uint32_t)(bytes[at] << 8 | bytes[at + 1]);
    return from;
}

static uint16_t fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~(sum + (sum >> 16)));
}

static void finish(struct frame *frame)
{
    frame->ip.check = frame->tcp.check = 0;
    frame->ip.check = fold(sum(&frame->ip, sizeof frame->ip, 0));
    uint32_t pseudo = sum(&frame->ip.saddr, 8, IPPROTO_TCP + sizeof frame->tcp);
    frame->tcp.check = fold(sum(&frame->tcp, sizeof frame->tcp, pseudo));
}

// A client's packet: 1024 flows of each client; neighbouring clients do not use the same ports.
static void make(struct frame *frame, uint32_t flow, int flags)
{
    *frame = (struct frame){
        .ethernet = {.ether_type = htons(ETHERTYPE_IP)},
        .ip = {.ihl = 5, .version = 4, .tot_len = htons(40), .ttl = 64, .protocol = IPPROTO_TCP},
        .tcp = {.doff = 5, .window = htons(65535), .dest = htons(443)},
    };
    memcpy(frame->ethernet.ether_dhost, ROUTER, 6);
    memcpy(frame->ethernet.ether_shost, NOBODY, 6);
    uint32_t to = destinations ? 0x0a020101 + flow % destinations : 0x0a020064;
    frame->ip.saddr = htonl(0x0a010100 + flow / 1024);
    frame->ip.daddr = htonl(to);
    frame->tcp.source = htons((uint16_t)(32768 | (flow * 40503 & 0x7fff)));
    frame->tcp.seq = htonl(flags & SYN ? 1 : 2);
    frame->tcp.ack_seq = htonl(flags & ACK ? 1001 : 0);
    frame->tcp.syn = !!(flags & SYN);
    frame->tcp.ack = !!(flags & ACK);
    finish(frame);
}

static void transmit(int from, unsigned count)
{
    for (unsigned sent = 0; sent < count;) {
        int now = sendmmsg(from, messages + sent, count - sent, 0);
        if (now < 0 && errno != ENOBUFS)
            fail("cannot send");
        sent += now > 0 ? (unsigned)now : 0;
    }
}

// Visits flows in an order that no prefetcher foresees: the high bits of a product by an odd number.
static uint32_t scattered(uint32_t step, uint32_t count)
{
    return (uint32_t)(((uint64_t)(step * 2654435761u) * count) >> 32);
}

// Sends packets, waits until they have arrived (or patience is at its end), returns the nanoseconds until
// the last of them came.
static uint64_t burst(uint32_t first, uint32_t packets, uint32_t flows, int flags, const char *device)
{
    uint64_t before = arrived(device), begun = nanoseconds();
    for (uint32_t at = 0; at < packets;) {
        unsigned count = packets - at < BATCH ? packets - at : BATCH;
        for (unsigned slot = 0; slot < count; ++slot, ++at) {
            make(&frames[slot], flags & SYN ? first + at : scattered(first + at, flows), flags);
            if (*device != 'e') // the router's port: the frame is for nobody there
                memcpy(frames[slot].ethernet.ether_dhost, NOBODY, 6);
        }
        transmit(client, count);
    }
    uint64_t ended = nanoseconds(), seen = arrived(device) - before;
    for (uint64_t now = ended; seen < packets && now < ended + patience; now = nanoseconds()) {
        uint64_t more = arrived(device) - before;
        if (more > seen) {
            seen = more;
            ended = now;
        }
    }
    return ended - begun;
}

// Answers the SYNs that reach the server, each with its translated addresses.
static void answer(unsigned count)
{
    for (unsigned at = 0; at < count;) {
        struct pollfd wait = {.fd = server, .events = POLLIN};
        if (poll(&wait, 1, 1000) != 1)
            fail("a SYN did not reach the server");
        struct frame *frame = &frames[at];
        if (recv(server, frame, sizeof *frame, 0) != sizeof *frame || !frame->tcp.syn || frame->tcp.ack)
            continue;
        if (ntohl(frame->ip.saddr) >> 16 == 0x0a01)
            fail("the router does not translate");
        uint32_t address = frame->ip.saddr;
        uint16_t port = frame->tcp.source;
        memcpy(frame->ethernet.ether_dhost, frame->ethernet.ether_shost, 6);
        memcpy(frame->ethernet.ether_shost, NOBODY, 6);
        frame->ip.saddr = frame->ip.daddr;
        frame->ip.daddr = address;
        frame->ip.ttl = 64;
        frame->tcp.source = frame->tcp.dest;
        frame->tcp.dest = port;
        frame->tcp.ack_seq = htonl(ntohl(frame->tcp.seq) + 1);
        frame->tcp.seq = htonl(1000);
        frame->tcp.ack = 1;
        finish(frame);
        ++at;
    }
    transmit(server, count);
}

static void establish(uint32_t flows)
{
    for (uint32_t at = 0; at < flows; at += BATCH) {
        unsigned count = flows - at < BATCH ? flows - at : BATCH;
        for (unsigned slot = 0; slot < count; ++slot)
            make(&frames[slot], at + slot, SYN);
        transmit(client, count);
        answer(count);
        for (unsigned slot = 0; slot < count; ++slot)
            make(&frames[slot], at + slot, ACK);
        transmit(client, count);
    }
    if (bound() != flows)
        fail("%u connections established, %llu tracked", flows, (unsigned long long)bound());
}

static void report(uint32_t packets, uint64_t before, uint64_t time, const char *device)
{
    uint64_t seen = arrived(device) - before;
    if (seen != packets)
        fail("%u packets sent, %llu arrived", packets, (unsigned long long)seen);
    printf("{\"packets\": %u, \"ns\": %.1f}\n", packets, (double)time / packets);
}

// Takes ports by SYNs of new flows until all are taken.
static void fill(uint32_t ports)
{
    static const double LEVELS[] = {0.90, 0.98, 1.0};
    uint32_t tried = 0, sample = ports / 100, first_refused = 0;
    uint64_t filling = 0;
    printf("{");
    for (int level = 0; level < 3; ++level) {
        uint64_t target = LEVELS[level] < 1 ? (uint64_t)(ports * LEVELS[level]) - sample / 2 : ports;
        uint32_t enough = tried + 4 * ports;
        // Refused packets never arrive. What the kernel does with a packet it does as a rule before it
        // returns from sending it, so that there is no reason to wait for long.
        patience = 200000;
        for (uint64_t have = bound(); have < target && tried < enough;) {
            uint32_t count = target - have < BATCH ? (uint32_t)(target - have) : BATCH;
            filling += burst(tried, count, 0, SYN, "eth0");
            tried += count;
            uint64_t now = bound();
            if (now - have < count && !first_refused)
                first_refused = (uint32_t)now;
            have = now;
        }
        patience = 50000000;
        uint64_t before = bound(), time = burst(tried, sample, 0, SYN, "eth0");
        uint64_t got = bound() - before;
        tried += sample;
        filling += LEVELS[level] < 1 ? time : 0;
        int percent = (int)(LEVELS[level] * 100 + 0.5);
        printf("\"ns_%d\": %.1f, \"taken_%d\": %.5f, \"refused_%d\": %.5f, ", percent, (double)time / sample,
               percent, (double)before / ports, percent, 1 - (double)got / sample);
    }
    printf("\"first_refused\": %.5f, \"attempts\": %u, \"fill_ns\": %.1f}\n", (double)first_refused / ports,
           tried - sample, (double)filling / ports);
}

int main(int count, char **words)
{
    errno = 0;
    if (count < 4)
        fail("usage: traffic PREFIX alone|known|plain|new|full NUMBER...");
    prefix = words[1];
    const char *mode = words[2];
    uint32_t number[3] = {0};
    for (int at = 3; at < count && at < 6; ++at)
        number[at - 3] = (uint32_t)strtoul(words[at], NULL, 10);
    int alone = !strcmp(mode, "alone"), plain = !strcmp(mode, "plain");
    const char *device = alone ? "client0" : "eth0";

    for (int slot = 0; slot < BATCH; ++slot) {
        vectors[slot] = (struct iovec){&frames[slot], sizeof frames[slot]};
        messages[slot].msg_hdr = (struct msghdr){.msg_iov = &vectors[slot], .msg_iovlen = 1};
    }
    enter("client");
    client = raw(0);
    enter("server");
    server = raw(ETH_P_IP);
    if (!alone)
        counter = open("/proc/thread-self/net/dev", O_RDONLY);
    enter("router");
    if (alone)
        counter = open("/proc/thread-self/net/dev", O_RDONLY);
    bindings = open("/proc/sys/net/netfilter/nf_conntrack_count", O_RDONLY);
    if (!alone && !plain)
        flush();

    if (!strcmp(mode, "known") || plain) {
        destinations = number[2];
        if (!plain)
            establish(number[0]);
        close(server);
        // Once through without the clock, so that handshakes and packets do not share caches.
        burst(0, number[1] / 8, number[0], ACK, device);
        uint64_t before = arrived(device);
        report(number[1], before, burst(number[1], number[1], number[0], ACK, device), device);
    } else if (alone) {
        close(server);
        destinations = 1;
        uint64_t before = arrived(device);
        report(number[0], before, burst(0, number[0], 65536, ACK, device), device);
    } else if (!strcmp(mode, "new")) {
        close(server);
        destinations = number[1];
        uint64_t before = arrived(device);
        report(number[0], before, burst(0, number[0], 0, SYN, device), device);
        if (bound() != number[0])
            fail("%u flows sent, %llu tracked", number[0], (unsigned long long)bound());
    } else if (!strcmp(mode, "full")) {
        close(server);
        destinations = 1;
        fill(number[0]);
    } else {
        fail("unknown mode %s", mode);
    }
    if (!alone && !plain)
        flush();
    return 0;
}

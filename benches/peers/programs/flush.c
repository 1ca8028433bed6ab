#include "flush.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void flush(void)
{
    // A deletion that names no connection means all of them.
    struct {
        struct nlmsghdr header;
        struct nfgenmsg general;
    } request = {
        .header = {.nlmsg_len = sizeof request,
                   .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .general = {.nfgen_family = AF_INET, .version = NFNETLINK_V0},
    };
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[256];
    } answer = {0};
    int link = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    if (link < 0 || send(link, &request, sizeof request, 0) < 0 ||
        recv(link, &answer, sizeof answer, 0) < 0 || answer.error.error != 0) {
        fprintf(stderr, "cannot flush the tracked connections\n");
        exit(1);
    }
    close(link);
}

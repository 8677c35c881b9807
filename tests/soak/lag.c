/* A link that takes its time: carries frames between two network interfaces and lets those of
 * named peers wait, each way. For machines whose kernel has no netem.
 *
 *   lag NODE SWITCH
 *
 * NODE is the interface behind which one node is, SWITCH the one behind which all others are. Each
 * line of the input is `ADDRESS TIME JITTER`: packets between the node and this IPv4 address wait
 * for TIME microseconds and up to JITTER more. The order stays. It says `ready` when it carries
 * frames, and ends with its input.
 *
 * Frames come and go with the kernel's own note of what is still to be done for them (checksum,
 * division into packets), so that both sides may leave that to their hardware. At most 32 MiB wait;
 * what comes then is lost.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_BYTES (32l << 20)
#define MOST_PEERS 256
#define MOST_FRAME (96 * 1024)
#define AT_ONCE 64

struct frame {
  struct frame *next;
  int64_t due;
  size_t length;
  unsigned char bytes[];
};

/* Frames of one peer in one direction; the first goes first. */
struct queue {
  struct frame *first, **last;
  int64_t latest;
};

struct peer {
  uint32_t address;
  int64_t time, jitter;
  struct queue queues[2];
};

static struct peer peers[MOST_PEERS];
static size_t n_peers;
static long n_bytes;
/* 0 the node's, 1 the switch's; what comes from one goes to the other. */
static int sockets[2];
static uint64_t chance = 88172645463325252u;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000ll + time.tv_nsec / 1000;
}

static int64_t below(int64_t limit) {
  chance ^= chance << 13;
  chance ^= chance >> 7;
  chance ^= chance << 17;
  return limit > 0 ? (int64_t)(chance % (uint64_t)limit) : 0;
}

static struct peer *find(uint32_t address) {
  for (size_t i = 0; i < n_peers; i++)
    if (peers[i].address == address)
      return &peers[i];
  return NULL;
}

static int open_socket(const char *name) {
  int one = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    fail("socket");
  if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) < 0)
    fail("PACKET_VNET_HDR");
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) < 0)
    fail("PACKET_IGNORE_OUTGOING");
  int room = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                .sll_protocol = htons(ETH_P_ALL),
                                .sll_ifindex = (int)if_nametoindex(name)};
  if (address.sll_ifindex == 0)
    fail(name);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
    fail(name);
  return fd;
}

/* What cannot be sent is lost, as on a wire. */
static void put(int to, const void *bytes, size_t length) {
  ssize_t sent = send(sockets[to], bytes, length, 0);
  (void)sent;
}

/* The peer of an IPv4 frame: where the node sends it, or whom it has it from. */
static struct peer *peer_of(const unsigned char *bytes, size_t length, int from) {
  const unsigned char *ethernet = bytes + sizeof(struct virtio_net_hdr);
  if (length < sizeof(struct virtio_net_hdr) + 34 || ethernet[12] != 8 || ethernet[13] != 0)
    return NULL;
  uint32_t address;
  memcpy(&address, ethernet + (from == 0 ? 30 : 26), sizeof address);
  return find(address);
}

static void take(int from) {
  static unsigned char bytes[MOST_FRAME];
  for (int i = 0; i < AT_ONCE; i++) {
    ssize_t length = recv(sockets[from], bytes, sizeof bytes, 0);
    if (length <= 0)
      return;
    struct peer *peer = peer_of(bytes, (size_t)length, from);
    struct queue *queue = peer ? &peer->queues[from] : NULL;
    if (!queue || (!queue->first && peer->time == 0 && peer->jitter == 0)) {
      put(1 - from, bytes, (size_t)length);
      continue;
    }
    struct frame *frame = n_bytes > MOST_BYTES ? NULL : malloc(sizeof *frame + (size_t)length);
    if (!frame)
      continue;
    int64_t due = now_us() + peer->time + below(peer->jitter + 1);
    queue->latest = due > queue->latest ? due : queue->latest;
    *frame = (struct frame){NULL, queue->latest, (size_t)length};
    memcpy(frame->bytes, bytes, (size_t)length);
    if (!queue->first)
      queue->last = &queue->first;
    *queue->last = frame;
    queue->last = &frame->next;
    n_bytes += length;
  }
}

/* Sends what is due; when the next is, or -1. */
static int64_t give(int64_t now) {
  int64_t next = -1;
  for (size_t i = 0; i < n_peers; i++)
    for (int from = 0; from < 2; from++) {
      struct queue *queue = &peers[i].queues[from];
      while (queue->first && queue->first->due <= now) {
        struct frame *frame = queue->first;
        queue->first = frame->next;
        put(1 - from, frame->bytes, frame->length);
        n_bytes -= (long)frame->length;
        free(frame);
      }
      if (queue->first && (next < 0 || queue->first->due < next))
        next = queue->first->due;
    }
  return next;
}

static void obey(const char *line) {
  char address[32];
  int64_t time, jitter;
  uint32_t number;
  if (sscanf(line, "%31s %" SCNd64 " %" SCNd64, address, &time, &jitter) != 3 ||
      inet_pton(AF_INET, address, &number) != 1) {
    fprintf(stderr, "lag: not understood: %s\n", line);
    exit(1);
  }
  struct peer *peer = find(number);
  if (!peer) {
    if (n_peers == MOST_PEERS)
      fail("too many peers");
    peer = &peers[n_peers++];
    peer->address = number;
  }
  peer->time = time;
  peer->jitter = jitter;
}

/* False at the end of the input. */
static bool listen_to(int fd) {
  static char line[128];
  static size_t length;
  char byte;
  ssize_t count;
  while ((count = read(fd, &byte, 1)) == 1) {
    if (byte == '\n') {
      line[length] = 0;
      obey(line);
      length = 0;
    } else if (length < sizeof line - 1) {
      line[length++] = byte;
    }
  }
  return count < 0 && errno == EAGAIN;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "lag NODE SWITCH\n");
    return 2;
  }
  sockets[0] = open_socket(argv[1]);
  sockets[1] = open_socket(argv[2]);
  fcntl(0, F_SETFL, O_NONBLOCK);
  puts("ready");
  fflush(stdout);
  for (;;) {
    int64_t next = give(now_us()), wait = next < 0 ? -1 : next - now_us();
    struct timespec time = {wait > 0 ? wait / 1000000 : 0, wait > 0 ? wait % 1000000 * 1000 : 0};
    struct pollfd files[3] = {{0, POLLIN, 0}, {sockets[0], POLLIN, 0}, {sockets[1], POLLIN, 0}};
    if (ppoll(files, 3, next < 0 ? NULL : &time, NULL) < 0 && errno != EINTR)
      fail("poll");
    if (files[0].revents && !listen_to(0))
      return 0;
    for (int i = 0; i < 2; i++)
      if (files[i + 1].revents)
        take(i);
  }
}

/* sandbox/proc_tcp.c: see proc_tcp.h. */
#include "sandbox/proc_tcp.h"

#include <arpa/inet.h>
#include <string.h>

enum { LISTENING = 0x0a, V4_WORDS = 1, V6_WORDS = 4, WORD_DIGITS = 8, PORT_DIGITS = 4, STATE_DIGITS = 2 };

struct cursor {
    const char *at, *end;
};

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && *c->at == ' ')
        c->at++;
}

static bool skip_char(struct cursor *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Exactly so many digits. */
static bool take_hex(struct cursor *c, int digits, uint32_t *ret)
{
    uint32_t value = 0;
    for (int i = 0; i < digits; i++, c->at++) {
        int d = c->at < c->end ? digit(*c->at) : -1;
        if (d < 0)
            return false;
        value = value << 4 | (uint32_t)d;
    }
    *ret = value;
    return true;
}

/* "0100007F:1F90", or with four words. @return how many words, 0: not one of these */
static int take_endpoint(struct cursor *c, uint32_t words[V6_WORDS], uint32_t *ret_port)
{
    int count = 0;
    while (count < V6_WORDS && c->at < c->end && *c->at != ':')
        if (!take_hex(c, WORD_DIGITS, &words[count++]))
            return 0;
    return (count == V4_WORDS || count == V6_WORDS) && skip_char(c, ':') && take_hex(c, PORT_DIGITS, ret_port) ? count : 0;
}

static bool is_reachable(const uint32_t words[V6_WORDS], int count)
{
    const uint32_t loopback = htonl(INADDR_LOOPBACK); /* printed as it lies in memory */
    if (count == V4_WORDS)
        return words[0] == 0 || words[0] == loopback;
    bool mapped = words[0] == 0 && words[1] == 0 && words[2] == htonl(0xffff);
    return (mapped && words[3] == loopback) || (words[0] == 0 && words[1] == 0 && words[2] == 0 && words[3] == 0);
}

static void add(struct proc_tcp_ports *ports, uint16_t port)
{
    size_t at = 0;
    while (at < ports->count && ports->port[at] < port)
        at++;
    if (at < ports->count && ports->port[at] == port)
        return;
    if (ports->count == PROC_TCP_PORTS) {
        ports->more = true;
        if (at == ports->count)
            return;
        ports->count--; /* the highest one makes room */
    }
    memmove(&ports->port[at + 1], &ports->port[at], (ports->count - at) * sizeof(ports->port[0]));
    ports->port[at] = port;
    ports->count++;
}

static void take_line(struct cursor c, struct proc_tcp_ports *ports)
{
    uint32_t local[V6_WORDS], remote[V6_WORDS], port, ignored, state;
    skip_blanks(&c);
    const char *number = c.at;
    while (c.at < c.end && *c.at >= '0' && *c.at <= '9')
        c.at++;
    if (c.at == number || !skip_char(&c, ':'))
        return;
    skip_blanks(&c);
    int count = take_endpoint(&c, local, &port);
    skip_blanks(&c);
    if (!count || take_endpoint(&c, remote, &ignored) != count)
        return;
    skip_blanks(&c);
    if (take_hex(&c, STATE_DIGITS, &state) && state == LISTENING && port && is_reachable(local, count))
        add(ports, (uint16_t)port);
}

void proc_tcp_read(const char *text, size_t len, struct proc_tcp_ports *ports)
{
    const char *at = text, *end = text + len, *stop;
    while (at < end && (stop = memchr(at, '\n', (size_t)(end - at)))) {
        take_line((struct cursor){at, stop}, ports);
        at = stop + 1;
    }
}

bool proc_tcp_has(const struct proc_tcp_ports *ports, unsigned port)
{
    for (size_t i = 0; i < ports->count; i++)
        if (ports->port[i] == port)
            return true;
    return false;
}

/* sandbox/guest/main.c: the agent: boots the microVM and obeys frames. See README.md of this folder and frames.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

enum { ENTROPY_BITS = 256 };
static bool seeded;

static bool set_clock(uint64_t ns)
{
    const struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    return clock_settime(CLOCK_REALTIME, &t) == 0;
}

/* Credits the host's entropy and makes the generator use it at once: until then every clone of a template gives the same bytes. */
static void seed(const struct micro_header *h, const char *payload)
{
    struct micro_seed s;
    struct {
        int bits, bytes;
        uint8_t data[MICRO_SEED_BYTES];
    } entropy = {ENTROPY_BITS, MICRO_SEED_BYTES, {0}};
    if (h->len != sizeof(s)) {
        port_say(MICRO_REFUSED, h->id, "SEED has another length");
        return;
    }
    memcpy(&s, payload, sizeof(s));
    memcpy(entropy.data, s.random, sizeof(entropy.data));
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    bool good = fd >= 0 && ioctl(fd, RNDADDENTROPY, &entropy) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0 && set_clock(s.host_ns);
    if (!good)
        port_say(MICRO_FAILED, 0, "seed the random numbers and set the clock: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    seeded = good;
}

static void prestart(const struct micro_header *h, const char *payload)
{
    static const char *const groups[] = {"job", "python", "node"};
    struct micro_prestart p = {.host_ns = 0};
    if (h->len == sizeof(p))
        memcpy(&p, payload, sizeof(p));
    /* Behind the real time, so that SEED makes the clock jump: libraries that reseed by time (OpenSSL) then do. */
    if (!p.host_ns || !set_clock(p.host_ns - MICRO_BEHIND_S * 1000000000ull)) {
        port_say(MICRO_REFUSED, h->id, "PRESTART carries the time");
        return;
    }
    for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
        job_limit_group(groups[i], p.memory_bytes, p.max_tasks);
    const char *failed = prestart_all();
    if (failed)
        port_say(MICRO_FAILED, 0, "start %s and let it wait: %s", failed, strerror(errno));
    else
        port_send(MICRO_PONG, h->id, NULL, 0);
}

static void obey(const struct micro_header *h, const char *payload)
{
    uint32_t word = 0;
    if (h->len >= sizeof(word))
        memcpy(&word, payload, sizeof(word));
    switch (h->type) {
    case MICRO_SEED:
        seed(h, payload);
        break;
    case MICRO_PING:
        port_send(MICRO_PONG, h->id, NULL, 0);
        break;
    case MICRO_PRESTART:
        prestart(h, payload);
        break;
    case MICRO_FILE:
        job_file(h, payload);
        break;
    case MICRO_STDIN:
        job_stdin(payload, h->len);
        break;
    case MICRO_EOF:
        job_stdin_end();
        break;
    case MICRO_SIGNAL:
        job_signal(word);
        break;
    case MICRO_RESIZE:
        job_resize(word & 0xffff, word >> 16);
        break;
    case MICRO_WARM:
    case MICRO_EXEC:
        if (!seeded) {
            port_say(MICRO_REFUSED, h->id, "not seeded: SEED comes first after a boot or a restore");
        } else if (h->type == MICRO_EXEC) {
            job_exec(h, payload);
        } else {
            prestart_warm(h->len ? (enum micro_language)payload[0] : MICRO_NO_LANGUAGE);
            port_send(MICRO_WARMED, h->id, NULL, 0);
        }
        break;
    default:
        port_say(MICRO_REFUSED, h->id, "there is no frame of type %u", h->type);
    }
}

static _Noreturn void serve(int children)
{
    for (;;) {
        struct pollfd fds[8] = {{.fd = port_fd(), .events = POLLIN}, {.fd = children, .events = POLLIN}};
        size_t own = 2, count = own + job_poll(fds + own, 6);
        if (poll(fds, count, -1) < 0)
            continue;
        job_serve(fds + own, count - own);
        if (fds[1].revents) {
            struct signalfd_siginfo info;
            if (read(children, &info, sizeof(info)) > 0)
                job_reap();
        }
        if (fds[0].revents & POLLIN) {
            struct micro_header h;
            char *payload;
            if (port_receive(&h, &payload))
                obey(&h, payload);
            else
                port_say(MICRO_REFUSED, h.id, "a frame of %u bytes is too long", h.len);
        } else if (fds[0].revents) {
            usleep(2000); /* no host on the other side: a template that was saved and waits for its restore */
        }
    }
}

/* As pid 1 it boots the machine. `agent hosted IMAGE [PORT]` is started by another pid 1, which has mounted the image there: it speaks through that
 * vsock port of the host, or through the virtio port. */
int main(int argc, char **argv)
{
    const bool hosted = getpid() != 1 && argc > 2 && strcmp(argv[1], "hosted") == 0;
    const struct micro_ready ready = {MICRO_VERSION, 0};
    const char *step = "?";
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    signal(SIGPIPE, SIG_IGN);
    bool good = hosted ? boot_hosted(&step) : boot_modules(&step), heard = hosted && argc > 3 ? port_call((unsigned)atoi(argv[3])) : port_open();
    if (!heard)
        return 1; /* the kernel panics and the VM ends, or msb does: all that can be said */
    good = good && (hosted || boot_image(&step)) && boot_root(hosted ? argv[2] : AGENT_IMAGE, &step);
    if (good && !(good = spawn_open()))
        step = "make the pid namespace of the job";
    int why = errno;
    int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (good)
        port_send(MICRO_READY, 0, &ready, sizeof(ready));
    else
        port_say(MICRO_FAILED, 0, "%s: %s", step, strerror(why));
    serve(children);
}

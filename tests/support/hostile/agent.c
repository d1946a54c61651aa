/* tests/support/hostile/agent.c: a guest that was taken over: boots as the real agent does, waits for its job, then attacks as the job's code says.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

static char mode[64];

static void raw(uint32_t len, uint8_t type, uint32_t id, const void *data, size_t have)
{
    const struct micro_header h = {.len = len, .type = type, .id = id};
    (void)!write(port_fd(), &h, sizeof(h));
    if (have)
        (void)!write(port_fd(), data, have);
}

static void send_back(uint32_t id, unsigned kind, uint32_t size, const char *path)
{
    char frame[sizeof(struct micro_back) + 64];
    const size_t len = strlen(path);
    const struct micro_back b = {.size = size, .path_len = (uint16_t)len, .kind = (uint8_t)kind};
    memcpy(frame, &b, sizeof(b));
    memcpy(frame + sizeof(b), path, len); /* NOLINT(bugprone-not-null-terminated-result): its length is in b */
    port_send(MICRO_BACK, id, frame, sizeof(b) + len);
}

/* In one piece: the host kills the machine as soon as it has read EXIT, and what was not sent by then is nobody's concern. */
static void after_exit(uint32_t id, enum micro_type type, const void *data, size_t len)
{
    static struct {
        struct micro_header first;
        struct micro_exit exit;
        struct micro_header second;
        char data[sizeof(struct micro_exit)];
    } __attribute__((packed)) two;
    two.first = (struct micro_header){.len = sizeof(two.exit), .type = MICRO_EXIT, .id = id};
    two.second = (struct micro_header){.len = (uint32_t)len, .type = (uint8_t)type, .id = id};
    memcpy(two.data, data, len);
    (void)!write(port_fd(), &two, sizeof(two) - sizeof(two.data) + len);
}

static void attack(uint32_t id)
{
    static char block[MICRO_PAYLOAD_MAX];
    const struct micro_exit e = {.code = 0};
    const struct micro_ready ready = {MICRO_VERSION, 0};
    if (!strcmp(mode, "panic") && (put_text("/proc/sys/kernel/sysrq", "1") || 1))
        put_text("/proc/sysrq-trigger", "c");
    else if (!strcmp(mode, "reboot"))
        reboot(RB_AUTOBOOT);
    else if (!strcmp(mode, "poweroff"))
        reboot(RB_POWER_OFF);
    else if (!strcmp(mode, "init_ends"))
        _exit(0);
    else if (!strcmp(mode, "triple_fault") && iopl(3) == 0)
        __asm__ volatile("lidt %0\n int3" : : "m"(*(const char(*)[10])block)); /* a fault of user space: pid 1 dies, the kernel panics */
    port_send(MICRO_STARTED, id, NULL, 0);
    if (!strcmp(mode, "huge"))
        raw(UINT32_MAX, MICRO_OUT, id, block, 100);
    else if (!strcmp(mode, "unknown"))
        raw(0, 99, id, NULL, 0);
    else if (!strcmp(mode, "exit_twice"))
        after_exit(id, MICRO_EXIT, &e, sizeof(e));
    else if (!strcmp(mode, "exit_then_late_output"))
        after_exit(id, MICRO_OUT, "x", 1);
    else if (!strcmp(mode, "back_unasked")) {
        const struct micro_back_end none = {.entries = 0};
        after_exit(id, MICRO_BACK_END, &none, sizeof(none));
    } else if (!strcmp(mode, "back_gone_unknown")) {
        port_send(MICRO_EXIT, id, &e, sizeof(e));
        send_back(id, MICRO_BACK_GONE, 0, "never-given");
    } else if (!strcmp(mode, "back_half_a_file")) {
        const struct micro_back_end last = {.entries = 1};
        port_send(MICRO_EXIT, id, &e, sizeof(e));
        send_back(id, MICRO_BACK_FILE, 5, "half");
        port_send(MICRO_BACK_END, id, &last, sizeof(last));
    } else if (!strcmp(mode, "back_paths")) {
        static const char *const paths[] = {"../escape", "/etc/escape", "a//b", "a/../b", ".", "x\ny", "\xff\xfe", ".cds-tmp-1", "kept"};
        const struct micro_back_end last = {.entries = sizeof(paths) / sizeof(*paths)};
        port_send(MICRO_EXIT, id, &e, sizeof(e));
        for (size_t i = 0; i < last.entries; i++) {
            send_back(id, MICRO_BACK_FILE, 1, paths[i]);
            port_send(MICRO_BACK_DATA, id, "!", 1);
        }
        port_send(MICRO_BACK_END, id, &last, sizeof(last));
    } else if (!strcmp(mode, "other_id"))
        port_send(MICRO_OUT, id + 1, "x", 1);
    else if (!strcmp(mode, "started_twice"))
        port_send(MICRO_STARTED, id, NULL, 0);
    while (!strcmp(mode, "flood"))
        port_send(MICRO_OUT, id, block, sizeof(block));
    while (!strcmp(mode, "flood_of_ready"))
        port_send(MICRO_READY, 0, &ready, sizeof(ready));
    while (!strcmp(mode, "drip")) { /* one byte of a frame that never ends */
        raw(1000, MICRO_OUT, id, block, 1);
        for (;;) {
            (void)!write(port_fd(), block, 1);
            usleep(20000);
        }
    }
    for (volatile int busy = !strcmp(mode, "spin"); busy;)
        ;
    for (;;)
        pause();
}

int main(void)
{
    const struct micro_ready ready = {MICRO_VERSION, 0};
    const char *step;
    struct micro_header h;
    char *payload;
    if (!boot_modules(&step) || !port_open())
        return 1;
    port_send(MICRO_READY, 0, &ready, sizeof(ready));
    for (;;) {
        if (!port_receive(&h, &payload))
            continue;
        if (h.type == MICRO_FILE && h.len > 2) { /* the code is the name of the attack */
            uint16_t path_len;
            memcpy(&path_len, payload, sizeof(path_len));
            size_t len = h.len - sizeof(path_len) - path_len;
            memcpy(mode, payload + sizeof(path_len) + path_len, len < sizeof(mode) - 1 ? len : sizeof(mode) - 1);
        }
        if (h.type == MICRO_EXEC)
            attack(h.id);
    }
}

/* sandbox/micro_qemu.c: see micro_qemu.h. */
#include "sandbox/micro_qemu.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/compiler.h"

struct builder {
    struct micro_qemu_command *to;
    size_t args, at;
};

static void put(struct builder *b, const char *fmt, ...) CDS_PRINTF(2, 3);
static void put(struct builder *b, const char *fmt, ...)
{
    char *at = b->to->text + b->at;
    size_t room = sizeof(b->to->text) - b->at;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(at, room, fmt, args);
    va_end(args);
    assert(n >= 0 && (size_t)n < room && b->args + 1 < MICRO_QEMU_ARGS);
    b->to->argv[b->args++] = at;
    b->at += (size_t)n + 1;
}

/* Why each word is there: docs/adr/0028-microvm.md. */
static void put_kernel(struct builder *b, const struct micro_qemu_plan *p)
{
    char tsc[64] = "";
    put(b, "-kernel");
    put(b, "/proc/self/fd/%d", p->fd.kernel);
    put(b, "-initrd");
    put(b, "/proc/self/fd/%d", p->fd.initrd);
    if (p->tsc_khz)
        snprintf(tsc, sizeof(tsc), " tsc_early_khz=%u tsc=reliable no_timer_check", p->tsc_khz);
    put(b, "-append");
    put(b, "panic=-1 reboot=t audit=0 mitigations=off random.trust_cpu=on rcupdate.rcu_expedited=1 cryptomgr.notests%s %s", tsc,
        p->fd.log >= 0 ? "console=ttyS0 loglevel=5" : "quiet loglevel=0");
}

static void put_devices(struct builder *b, const struct micro_qemu_plan *p)
{
    put(b, "-device");
    put(b, "virtio-serial-device,max_ports=2");
    put(b, "-chardev");
    put(b, "socket,id=agent,fd=%d", p->fd.agent);
    put(b, "-device");
    put(b, "virtserialport,chardev=agent,name=agent");
    put(b, "-add-fd");
    put(b, "fd=%d,set=1", p->fd.root);
    put(b, "-blockdev");
    put(b, "driver=file,node-name=file,filename=/dev/fdset/1,read-only=on,locking=off");
    put(b, "-blockdev");
    put(b, "driver=raw,node-name=root,file=file,read-only=on");
    put(b, "-device");
    put(b, "virtio-blk-device,drive=root");
    if (p->fd.log >= 0) {
        put(b, "-chardev");
        put(b, "socket,id=log,fd=%d", p->fd.log);
        put(b, "-serial");
        put(b, "chardev:log");
    }
    if (p->fd.qmp >= 0) {
        put(b, "-chardev");
        put(b, "socket,id=qmp,fd=%d", p->fd.qmp);
        put(b, "-mon");
        put(b, "chardev=qmp,mode=control");
    }
}

void micro_qemu_command(const struct micro_qemu_plan *p, struct micro_qemu_command *ret)
{
    struct builder b = {.to = ret};
    put(&b, "%s", p->program);
    put(&b, "-M");
    put(&b, "microvm,x-option-roms=off,rtc=on,isa-serial=%s%s", p->fd.log >= 0 ? "on" : "off", p->fd.ram >= 0 ? ",memory-backend=ram" : "");
    if (p->fd.ram >= 0) {
        put(&b, "-object");
        put(&b, "memory-backend-file,id=ram,size=%uM,mem-path=/proc/self/fd/%d,share=%s", p->memory_mib, p->fd.ram, p->share ? "on" : "off");
    }
    put(&b, "-accel");
    put(&b, "%s", p->kvm ? "kvm" : "tcg,tb-size=32");
    put(&b, "-cpu");
    put(&b, "%s", p->kvm ? "host" : "max");
    put(&b, "-m");
    put(&b, "%u", p->memory_mib);
    put(&b, "-smp");
    put(&b, "1");
    put(&b, "-nodefaults");
    put(&b, "-no-user-config");
    put(&b, "-display");
    put(&b, "none");
    put(&b, "-no-reboot");
    put(&b, "-sandbox");
    put(&b, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    if (!p->incoming) /* a saved machine has it in its memory */
        put_kernel(&b, p);
    put_devices(&b, p);
    if (p->incoming) {
        put(&b, "-incoming");
        put(&b, "defer");
    }
    ret->argv[b.args] = NULL;
}

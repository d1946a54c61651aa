/* sandbox/micro_qemu.h: the command line of a QEMU microVM. Pure: no process, no file.
 *
 * QEMU is hostile territory once a guest runs in it: it gets everything by descriptor and names no path but those of its own firmware.
 * Source:  qemu(1), docs/system/i386/microvm.rst; docs/adr/0028-microvm.md says why each flag is there.
 * Threads: safe; no state.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { MICRO_QEMU_ARGS = 64, MICRO_QEMU_TEXT = 4096 };

/** Descriptors as QEMU sees them; -1: not there. */
struct micro_qemu_fds {
    int agent;  /**< socket of the virtio port */
    int qmp;    /**< socket of the machine protocol */
    int ram;    /**< memory file of the guest's RAM; -1: private memory */
    int kernel; /**< ELF, with a PVH entry */
    int initrd;
    int root; /**< erofs, opened for reading */
    int log;  /**< socket of the serial console */
};

struct micro_qemu_plan {
    const char *program;
    bool kvm;      /**< hardware; else emulation */
    bool incoming; /**< waits for a saved state */
    bool share;    /**< writes of the guest reach the RAM file: a template is being made */
    unsigned memory_mib;
    unsigned tsc_khz; /**< 0 with kvm: the guest asks the host */
    struct micro_qemu_fds fd;
};

struct micro_qemu_command {
    const char *argv[MICRO_QEMU_ARGS]; /**< NULL-terminated; points into text and into the plan */
    char text[MICRO_QEMU_TEXT];
};
/** The same plan gives the same machine: a template and its clones differ in share, incoming and ram only. */
void micro_qemu_command(const struct micro_qemu_plan *plan, struct micro_qemu_command *ret);

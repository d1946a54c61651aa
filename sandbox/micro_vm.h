/* sandbox/micro_vm.h: one microVM from its start to its end: a jailed QEMU or msb, its sockets, frames both ways.
 *
 * Start:   cold (boots), to save (boots with its RAM in a file, then saved as a template), or restored from a template. msb only boots.
 * End:     micro_vm_end kills its monitor with all processes of it and answers when nothing of it lives any more.
 * Source:  sandbox/micro_qemu.h, sandbox/micro_msb.h (command lines), sandbox/confine/jail.h (what holds them), sandbox/micro_frames.h.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/confine/jail.h"
#include "sandbox/host.h"
#include "sandbox/micro_frames.h"
#include "sandbox/micro_image.h"
#include "sandbox/micro_qmp.h"
#include "sandbox/scratch.h"

enum { MICRO_LOG_MAX = 2048, MICRO_VM_OUT_MAX = 24 << 20 /**< bytes of files, input and arguments that wait for a guest */ };

struct micro_vm;
struct micro_vm_ops {
    /** A frame that obeys the rules. False: the machine was ended inside. */
    bool (*on_frame)(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len);
    /** A restored machine runs, or the state of one to save is written. */
    void (*on_state)(void *user);
    /** It is of no use any more: its monitor ended, a rule of the protocol was broken, the state could not be saved or loaded. Only micro_vm_end is
     * left. */
    void (*on_lost)(void *user, const char *why);
};

struct micro_vm_plan {
    const char *qemu; /**< program */
    const char *msb;  /**< program of microsandbox, which runs the machine then, on KVM; NULL: QEMU does */
    const struct micro_image *image;
    const char *agent; /**< msb: file of the agent; it opens that and the root image by name */
    bool doctor;       /**< msb: no machine, only its doctor: on_lost follows, and status says whether it is content */
    bool kvm, log;
    unsigned memory_mib, tsc_khz;
    int ram_fd;   /**< memory file of the RAM, or -1 */
    int state_fd; /**< saved state to start from, its own description; or -1 */
};

/** What became of its monitor. */
struct micro_vm_end {
    int status;           /**< as waitpid gives it */
    uint64_t cpu_us;      /**< of the whole machine since its start; UINT64_MAX: unknown */
    bool memory;          /**< the kernel killed it for memory */
    int step, step_errno; /**< a step of its jail that was refused; step -1: none */
    bool said_more;       /**< bytes of the guest came after those that were read */
};
typedef void micro_vm_gone(void *user, const struct micro_vm_end *end);

struct micro_vm {
    struct sandbox_host *host;
    struct micro_vm **list, *next, **prev;
    const struct micro_vm_ops *ops;
    void *user;
    const char *monitor; /**< what runs it: "QEMU", "msb"; static */
    struct cds_cgroup *group;
    pid_t pid;
    int pidfd, report_fd, agent_fd, log_fd;
    int qemu_fd;   /**< pidfd of QEMU itself, to stop and continue it; -1 until it was needed */
    int listen_fd; /**< msb: where its agent calls, once; -1 */
    struct cds_watch *ended, *agent, *logged, *called;
    struct cds_timer *look;         /**< msb: at the size of its folder */
    char scratch[SCRATCH_PATH_MAX]; /**< msb: its throw-away folder; "": none */
    struct micro_decoder decoder;
    struct cds_buf out;
    struct micro_qmp qmp;
    char log[MICRO_LOG_MAX];
    size_t log_len;
    uint64_t started_ns;
    bool lost, ending, held, stopped;
    int status; /**< of the monitor when it has ended by itself, as waitpid gives it; -1 */
    micro_vm_gone *gone;
    void *gone_user;
};

/**
 * Starts a machine and links it into *list. Its own limits: the guest and its monitor in a control group, no network, a jail.
 * @return CDS_OK; CDS_EXHAUSTED; CDS_SYSTEM
 */
CDS_MUST_USE cds_rc micro_vm_start(struct sandbox_host *host, struct micro_vm **list, const struct micro_vm_plan *plan,
                                   const struct micro_vm_ops *ops, void *user, struct micro_vm **ret, struct cds_err *reterr);
/** Who is told from now on. */
void micro_vm_own(struct micro_vm *vm, const struct micro_vm_ops *ops, void *user);
/** Queues frames (taken out of *frames). False: it does not take them any more, and is lost. */
CDS_MUST_USE bool micro_vm_send(struct micro_vm *vm, struct cds_buf *frames);
/** Sends SEED, with the time of now. */
CDS_MUST_USE bool micro_vm_seed(struct micro_vm *vm);
/** Saves the state of the devices; on_state or on_lost follows. */
CDS_MUST_USE cds_rc micro_vm_save(struct micro_vm *vm, int state_fd, struct cds_err *reterr);
/** Stops reading frames: the guest blocks when it writes. */
void micro_vm_hold(struct micro_vm *vm, bool hold);
/** Stops or continues the whole process. */
void micro_vm_stop(struct micro_vm *vm, bool stop);
/** CPU time and memory of the whole machine so far. */
void micro_vm_usage(const struct micro_vm *vm, struct cds_cgroup_usage *ret);
/** Kills it; gone (may be NULL) is called once when it was reaped, then it is freed. on_* are not called any more. Idempotent: the first gone stays.
 */
void micro_vm_end(struct micro_vm **vm, micro_vm_gone *gone, void *user);
/** Kills and reaps all of the list, waiting for it; nobody is told. */
void micro_vms_end(struct micro_vm **list);

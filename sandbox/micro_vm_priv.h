/* sandbox/micro_vm_priv.h: what the life of a machine (micro_vm.c) and its two ways to start (micro_vm_qemu.c, micro_vm_msb.c) share.
 * Threads: loop thread only. */
#pragma once

#include "sandbox/micro_vm.h"

enum { MICRO_CPU_BACKSTOP_MS = 3600000 /**< its owner's clocks hold it long before */ };

/**
 * A machine without a process, linked into *list, with a control group of these limits.
 * @param monitor  what runs it, for sentences: "QEMU", "msb"; static
 */
CDS_MUST_USE cds_rc micro_vm_new(struct sandbox_host *host, struct micro_vm **list, const struct micro_vm_ops *ops, void *user, const char *monitor,
                                 const struct cds_run_limits *limits, struct micro_vm **ret, struct cds_err *reterr);
/** It could not be started: kills, reaps and frees what is there of it. */
void micro_vm_drop(struct micro_vm *vm);
/** Starts its monitor; what the plan says of the host (ids, group, folder to mount on) is filled in. */
CDS_MUST_USE cds_rc micro_vm_launch(struct micro_vm *vm, struct cds_jail_plan *plan, struct cds_err *reterr);
/** Frames come from agent_fd now. */
CDS_MUST_USE cds_rc micro_vm_hear(struct micro_vm *vm, struct cds_err *reterr);
/** Loads the saved state of its devices; on_state or on_lost follows. */
CDS_MUST_USE cds_rc micro_vm_load(struct micro_vm *vm, struct cds_err *reterr);
/** Tells its owner, once. */
void micro_vm_lose(struct micro_vm *vm, const char *why);
/** The same descriptor with a number that a jail does not give away; closes fd. */
int micro_vm_lift(int fd);
/** A socket pair; theirs is ready to be passed. */
CDS_MUST_USE cds_rc micro_vm_pair(int *ret_ours, int *ret_theirs, struct cds_err *reterr);

/* micro_vm_qemu.c, micro_vm_msb.c */
typedef cds_rc micro_vm_starter(struct sandbox_host *host, struct micro_vm **list, const struct micro_vm_plan *plan, const struct micro_vm_ops *ops,
                                void *user, struct micro_vm **ret, struct cds_err *reterr);
micro_vm_starter micro_vm_start_qemu, micro_vm_start_msb;
/** A sentence for an end of msb by itself. */
void micro_vm_msb_why(struct micro_vm *vm, int code, char *why, size_t size);
/** Its throw-away folder and the socket in it; nothing of the process is left. */
void micro_vm_msb_free(struct micro_vm *vm);

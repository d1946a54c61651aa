/* sandbox/micro_qmp.h: the few words the broker says to QEMU: save a state, load a state. Closed as soon as that is done.
 *
 * Source:  QEMU Machine Protocol, docs/interop/qmp-spec.txt; qapi/migration.json. What QEMU says is not trusted: lines have a ceiling, anything
 *          unexpected ends it.
 * Threads: loop thread only.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/base/loop.h"

enum { MICRO_QMP_LINE_MAX = 65536, MICRO_QMP_COMMANDS = 6 };

/** Called once: failed is NULL, or a sentence. May free the structure's owner. */
typedef void micro_qmp_done(void *user, const char *failed);

struct micro_qmp {
    int fd; /**< -1: closed */
    struct cds_watch *watch;
    struct cds_buf in;
    const char *commands[MICRO_QMP_COMMANDS]; /**< static texts */
    size_t count, at;                         /**< at: answers had, the greeting is the first */
    int pass_fd;                              /**< goes along with the first "getfd"; borrowed; -1 */
    bool migrated;
    micro_qmp_done *done;
    void *user;
};

/** Loads a state from a descriptor of QEMU's; the guest runs when done is called. */
CDS_MUST_USE cds_rc micro_qmp_load(struct micro_qmp *q, struct cds_loop *loop, int fd, micro_qmp_done *done, void *user, struct cds_err *reterr);
/** Saves the state of the devices into state_fd; the guest has stopped for good when done is called. */
CDS_MUST_USE cds_rc micro_qmp_save(struct micro_qmp *q, struct cds_loop *loop, int fd, int state_fd, micro_qmp_done *done, void *user,
                                   struct cds_err *reterr);
/** Idempotent. done is not called any more. */
void micro_qmp_close(struct micro_qmp *q);

/** Descriptor of the state in a restored QEMU: the last that is passed. */
#define MICRO_QMP_STATE_FD "12"

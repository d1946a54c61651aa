/* apps/cyberdevstudio/acts.h: what an operator does at the command line stands in the audit log as an admin's act does: a line before it is done,
 * and one behind it with what came of it.
 *
 * Source:  docs/adr/0073-audit-chain.md.
 * Threads: main thread only.
 * Who:     the account of this machine that the program runs as (account, uid), and the one that signed in to it where the kernel kept it
 *          (login_uid: "sudo" and "su" change the first and not the second).
 */
#pragma once

#include "apps/cyberdevstudio/database.h"
#include "lib/base/random.h"

/** One act; the caller fills the first two. */
struct cds_act {
    const char *name;   /**< words of the command: "model remove"; NULL: nothing is changed, and no line is written */
    const char *object; /**< id, model file or image it is about; NULL: the lines of what changes say so. No address of a person, no secret */
    char request_id[CDS_UUID_LEN + 1]; /**< what the two lines have in common */
};

/** With a connection that is there. @return CDS_OK; CDS_UNAVAILABLE, rule audit.unwritten: the act is not to be done */
CDS_MUST_USE cds_rc cds_act_begin(struct cds_db *db, struct cds_act *act, struct cds_err *reterr);
/** What came of it. An end that cannot be written is told on stderr; its begin stands. */
void cds_act_end(struct cds_db *db, const struct cds_act *act, cds_rc outcome);

/** What an act is that needs no database itself. @return the exit code of the command */
typedef enum cds_exit cds_act_fn(void *user);
/** Both lines around fn, each over a connection of its own, so that fn may take hours. A data folder without a database has no audit log yet: there
 *  fn is just called. @return what fn says; CDS_EXIT_FAILED after a complaint: nothing was done */
enum cds_exit cds_act(const struct cds_command *cmd, struct cds_act *act, cds_act_fn *fn, void *user);

/* apps/cyberdevstudio/firstadmin.h: the one-time link with which the first admin is made.
 *
 * Only its SHA-256 is stored; the link itself is printed once, by `up`, and carries the token in the fragment, which browsers do not send.
 * Threads: one thread, that of the connection.
 */
#pragma once

#include <stdbool.h>

#include "lib/config/config.h"
#include "lib/db/db.h"

enum { CDS_SETUP_LINK_MAX = 640 };

/**
 * When there is no user yet: forgets unused older links and makes a new one.
 * @param link  at least CDS_SETUP_LINK_MAX bytes; "" when there are users already
 */
CDS_MUST_USE cds_rc cds_first_admin_link(struct cds_db *db, const struct cds_config *config, char *link, size_t size, struct cds_err *reterr);

/* apps/cyberdevstudio/backup.h: what `backup` and `restore` share: the folder of a backup.
 *
 *   <folder>/database.dump   pg_dump's custom format, without owners and grants: it fits any server of that major version or a newer one
 *   <folder>/keys/           what <home>/keys held: signing key and pepper, without which tokens and API keys are void
 *   <folder>/backup.json     written last: a folder without it is no whole backup
 *
 * Source:  docs/adr/0074-backup-and-restore.md, pg_dump(1), pg_restore(1).
 * Threads: main thread only.
 */
#pragma once

#include "apps/cyberdevstudio/capture.h"
#include "apps/cyberdevstudio/commands.h"

enum { CDS_BACKUP_FORMAT = 1, CDS_BACKUP_TOOL_MS = 3600000, CDS_BACKUP_KEYS_MAX = 64, CDS_BACKUP_KEY_BYTES = 65536 };

/** Runs a program of PostgreSQL's (the folder is found as for the server) on the database to its end. args: NULL-terminated, behind its name; the
 *  connection is added. @return CDS_OK; CDS_NOT_FOUND; CDS_CANCELLED; CDS_SYSTEM with what it said last */
CDS_MUST_USE cds_rc cds_backup_tool(const struct cds_config *config, const char *name, const char *const *args, const struct cds_patience *patience,
                                    struct cds_err *reterr);
/** Copies the plain files of one folder into another that exists; one that is there already stays as it is.
 *  @param owner  who gets them, NULL: as they are made  @return CDS_OK; CDS_SYSTEM; CDS_TOO_LARGE */
CDS_MUST_USE cds_rc cds_backup_copy(const char *from, const char *to, const struct cds_identity *owner, struct cds_err *reterr);

/* lib/db/forget.h: the statement that takes a person out of the studio, for the gateway and the command line.
 *
 * Source:  database/migrations/0012_keys.sql (user_forget); docs/adr/0064-accounts.md.
 * Threads: safe; a constant.
 */
#pragma once

enum { CDS_FORGET_PROJECTS_MAX = 200 /**< projects that one account may have, as project.create keeps to */ };

/** Parameters: the user's id; the id of who gets the projects, or NULL; 't' when the projects go with their user, else 'f'; the most projects of one
 *  account. One row: a verdict ('ok', 'unknown', 'last_admin'; 'projects': there are some and nothing was said of them; 'no_heir'; 'heir_full'), how
 *  many projects there were, and a JSON list of the ids whose rows are gone: their folders are to be removed. All or nothing is changed. */
extern const char cds_forget_sql[];

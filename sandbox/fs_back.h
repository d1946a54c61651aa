/* sandbox/fs_back.h: takes what a program has changed in a copy of a project back into the project, and loses neither side.
 *
 * Rules:   those of every file call: names, links, special files, sizes, quota, whole files, durable. What changed in the project since the copy was
 *          made is a conflict: the project keeps its file, the program's is written beside it under a name that nothing has, and a deletion is
 *          not carried out. What a rule forbids is left out and told.
 * Source:  docs/adr/0038-files-come-back.md.
 * Threads: the thread that changes files (see fs.h), with the job's rights.
 */
#pragma once

#include "sandbox/fs.h"

enum { CDS_FS_SUFFIX_MAX = 40 };

enum cds_fs_back_kind { CDS_BACK_GONE, CDS_BACK_GONE_FOLDER, CDS_BACK_FOLDER, CDS_BACK_FILE };
enum cds_fs_back_fate {
    CDS_BACK_DONE,     /**< as the program has it */
    CDS_BACK_SAME,     /**< the project has it already */
    CDS_BACK_CONFLICT, /**< the project's side stays; kept_as names the program's, where it had one */
    CDS_BACK_REFUSED   /**< a rule or the disk said no */
};

/** One path. All pointers are borrowed except kept_as. */
struct cds_fs_back {
    enum cds_fs_back_kind kind;
    const char *path; /**< not checked yet */
    size_t path_len;
    const void *data; /**< CDS_BACK_FILE */
    size_t len;
    char base[CDS_FS_VERSION_LEN + 1]; /**< version that was copied; "": it was not there */
    enum cds_fs_back_fate fate;        /**< out */
    char *kept_as;                     /**< out, owned; NULL: none */
    char rule[32], reason[200];        /**< out, with CDS_BACK_REFUSED and CDS_BACK_CONFLICT */
};

/**
 * Takes the paths in their order; files are made durable together, CDS_FS_BATCH_MAX at a time.
 * @param suffix  unique to the run, without "/": a file kept beside another is called NAME.SUFFIX
 */
void cds_fs_back(int project, struct cds_fs_back *list, size_t count, const char *suffix);

/* apps/cyberdevstudio/doctor.h: one finding of `doctor`: does a part work, what is missing, what to do.
 *
 * Threads: main thread only. A check changes nothing on the machine.
 */
#pragma once

#include "apps/cyberdevstudio/commands.h"
#include "lib/json/json.h"

enum cds_verdict { CDS_WORKS, CDS_WEAK /**< works, with less than there could be */, CDS_MISSING };

struct cds_finding {
    char name[32];
    enum cds_verdict verdict;
    char text[400];   /**< what was found */
    char remedy[300]; /**< what to do, "" when it works */
};

enum { CDS_FINDINGS_MAX = 40 };
struct cds_findings {
    struct cds_finding list[CDS_FINDINGS_MAX];
    int count;
    cds_json *interpreters; /**< owned: what the sandbox says of each language, NULL: it was not asked or did not answer */
};

/** Adds a finding; beyond CDS_FINDINGS_MAX it is dropped. remedy may be "". */
void cds_found(struct cds_findings *all, const char *name, enum cds_verdict verdict, const char *remedy, const char *fmt, ...) CDS_PRINTF(5, 6);
/** Adds what an error says: message as text, hint as remedy. */
void cds_found_err(struct cds_findings *all, const char *name, const struct cds_err *err);
/** Reads the answer of `cds-sandboxd --probe`: one finding for each engine, and what it says of each language. @return false when it is not such an
 * answer */
bool cds_found_engines(struct cds_findings *all, const char *probe_json, size_t len);

/** Reads the answer of `status`: one finding for each part of the running studio. @return false when it is not such an answer */
bool cds_found_parts(struct cds_findings *all, const cds_json *status);
/** Is an installed language of use? What the sandbox said of it decides; where it said nothing, that it is installed. */
void cds_found_language(struct cds_findings *all, const char *language, const char *package, const char *installed);

/* doctor_gpu.c: lib_dir is the folder of the CPU's libllama. */
void cds_check_gpu(const struct cds_config *config, const char *lib_dir, struct cds_findings *all);

/* doctor_checks.c: each adds one or more findings. */
void cds_check_programs(const struct cds_config *config, struct cds_findings *all);
void cds_check_data_folder(const struct cds_config *config, struct cds_findings *all);
void cds_check_database(const struct cds_config *config, struct cds_findings *all);
void cds_check_ports(const struct cds_config *config, struct cds_findings *all);
void cds_check_model(const struct cds_config *config, struct cds_findings *all);
void cds_check_page(const struct cds_config *config, struct cds_findings *all);
void cds_check_sandbox(const struct cds_config *config, struct cds_findings *all);
void cds_check_languages(const struct cds_config *config, struct cds_findings *all);

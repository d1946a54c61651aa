/* sandbox/run_params.h: from the parameters of run.exec to what an engine gets. The gateway has checked them against the schema; a caller of the
 * socket itself meets every ceiling here again.
 *
 * Source:  schemas/rpc/run.exec.json.
 * Threads: safe; no state.
 */
#pragma once

#include "lib/config/config.h"
#include "lib/json/json.h"
#include "sandbox/path.h"
#include "sandbox/sandbox.h"

enum { RUN_ARGS = 64, RUN_ENV = 64, RUN_FILES = 16, RUN_FILES_BYTES = 2 << 20, RUN_VALUES = 64 };

/** Holds what spec points to. Not to be copied. */
struct run_params {
    char engine[16], language[16];
    const char *image;  /**< name of a root image for the engine micro; NULL: its own */
    bool may_fall_back; /**< the caller takes the process engine where this one does not work */
    struct cds_path path;
    const char *args[RUN_ARGS];
    const char *env[RUN_ENV];
    struct cds_job_file files[RUN_FILES];
    struct cds_path file_paths[RUN_FILES];
    struct cds_wasm_value values[RUN_VALUES];
    void *owned[RUN_ENV + RUN_FILES + 2]; /**< decoded texts */
    size_t owned_count;
    struct cds_job_network network; /**< spec points to it where the gateway names rules */
    struct cds_job_spec spec;       /**< project_fd is -1 */
};

/** @param ret  write with run_params_free after any outcome @return CDS_OK; CDS_BAD_PARAM, CDS_DENIED with a JSON Pointer; CDS_EXHAUSTED */
/**
 * What the gateway says of the project's network: {"rules": [...]}, beside the caller's own parameters. False: nothing, so none.
 * @param ret        borrows from params and *ret_rules @param ret_rules  owned text
 */
bool run_params_network(const cds_json *params, struct cds_job_network *ret, char **ret_rules);
CDS_MUST_USE cds_rc run_params_read(const cds_json *params, const struct cds_config *config, struct run_params *ret, struct cds_err *reterr);
void run_params_free(struct run_params *params);

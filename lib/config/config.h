/* lib/config/config.h: options from one INI file, the environment and flags.
 *
 * Source:  lib/config/options.def (the only list), inih 55, argp.
 * Threads: read-only after cds_config_load.
 * Memory:  returned texts are borrowed from the config.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/err.h"

/** File of the model that set-up brings: what an empty llm.model means. */
#define CDS_MODEL_DEFAULT_FILE "SmolLM2-135M-Instruct.Q8_0.gguf"

enum cds_opt {
#define CDS_OPT_STR(id, section, name, def, help) CDS_OPT_##id,
#define CDS_OPT_U64(id, section, name, def, min, max, unit, help) CDS_OPT_##id,
#include "lib/config/options.def"
#undef CDS_OPT_STR
#undef CDS_OPT_U64
    CDS_OPT_COUNT
};

struct cds_config;

/**
 * Loads all sources. Understands --config=FILE (default: $CDS_CONFIG, else <home>/studio.ini if it is there),
 * --section.name=VALUE, --help (prints usage with every option and exits 0), --version. The other arguments are left in order in argv/argc
 * (argv[0] stays), for the caller's own commands.
 *
 * @param about  one sentence for --help
 * @return CDS_OK; CDS_BAD_PARAM with file and line, or the flag, or the variable, and the allowed range
 */
CDS_MUST_USE cds_rc cds_config_load(int *argc, char **argv, const char *about, struct cds_config **ret, struct cds_err *reterr);
void cds_config_free(struct cds_config **config);
uint64_t cds_config_u64(const struct cds_config *config, enum cds_opt opt);
const char *cds_config_str(const struct cds_config *config, enum cds_opt opt);
/** Was it said in a file, the environment or a flag? false: it is its own default. */
bool cds_config_given(const struct cds_config *config, enum cds_opt opt);
/** Data folder with the default applied (never empty). */
const char *cds_config_home(const struct cds_config *config);
/** <home>/<tail> into buf. Returns buf. */
char *cds_config_path(const struct cds_config *config, const char *tail, char *buf, size_t size);
/** Folder of the running program (from /proc/self/exe), for things installed beside it. Returns buf. */
char *cds_program_dir(char *buf, size_t size);
/** Prints every option: name, effective value, unit, where it came from. For `config check`. */
void cds_config_print(const struct cds_config *config, FILE *out);

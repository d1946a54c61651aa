/* lib/config/config.c: see config.h. */
#include "lib/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/str.h"

enum { VALUE_MAX = 1024, SOURCE_MAX = 1100 };

struct option {
    const char *section, *name, *def_str, *unit, *help;
    bool is_number;
    uint64_t def, min, max;
};

static const struct option options[CDS_OPT_COUNT] = {
#define CDS_OPT_STR(id, sec, nam, dflt, hlp) [CDS_OPT_##id] = {.section = sec, .name = nam, .def_str = dflt, .unit = "", .help = hlp},
#define CDS_OPT_U64(id, sec, nam, dflt, lo, hi, unt, hlp)                                                                                            \
    [CDS_OPT_##id] = {.section = sec, .name = nam, .def = dflt, .min = lo, .max = hi, .unit = unt, .help = hlp, .is_number = true},
#include "lib/config/options.def"
#undef CDS_OPT_STR
#undef CDS_OPT_U64
};

struct value {
    char text[VALUE_MAX];
    uint64_t number;
    char source[SOURCE_MAX]; /* "default", "flag", "environment CDS_...", "file.ini line 3" */
};

struct cds_config {
    struct value values[CDS_OPT_COUNT];
    char home[VALUE_MAX];
};

static cds_rc set(struct cds_config *config, size_t i, const char *text, const char *source, struct cds_err *reterr)
{
    const struct option *o = &options[i];
    struct value *v = &config->values[i];
    if (strlen(text) >= VALUE_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%s.%s (%s) is longer than %d bytes.", o->section, o->name, source, VALUE_MAX - 1);
    if (o->is_number && cds_parse_u64(text, o->min, o->max, &v->number))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%s.%s = \"%.64s\" (%s) is not a whole number of %s from %llu to %llu.", o->section, o->name,
                        text, source, o->unit, (unsigned long long)o->min, (unsigned long long)o->max);
    snprintf(v->text, sizeof(v->text), "%s", text);
    snprintf(v->source, sizeof(v->source), "%s", source);
    return CDS_OK;
}

static void set_defaults(struct cds_config *config)
{
    for (size_t i = 0; i < CDS_OPT_COUNT; i++) {
        struct value *v = &config->values[i];
        v->number = options[i].def;
        if (options[i].is_number)
            snprintf(v->text, sizeof(v->text), "%llu", (unsigned long long)options[i].def);
        else
            snprintf(v->text, sizeof(v->text), "%s", options[i].def_str);
        snprintf(v->source, sizeof(v->source), "default");
    }
}

static ssize_t find(const char *section, const char *name)
{
    for (size_t i = 0; i < CDS_OPT_COUNT; i++)
        if (!strcmp(options[i].section, section) && !strcmp(options[i].name, name))
            return (ssize_t)i;
    return -1;
}

/* ---- environment ---- */
static void env_name(size_t i, char out[static 64])
{
    /* studio.home is CDS_HOME: the one name people type by hand. */
    if (i == CDS_OPT_HOME) {
        snprintf(out, 64, "CDS_HOME");
        return;
    }
    snprintf(out, 64, "CDS_%s_%s", options[i].section, options[i].name);
    for (char *p = out; *p; p++)
        *p = (char)toupper((unsigned char)*p);
}

static cds_rc from_environment(struct cds_config *config, struct cds_err *reterr)
{
    for (size_t i = 0; i < CDS_OPT_COUNT; i++) {
        char name[64], source[96];
        env_name(i, name);
        const char *text = getenv(name);
        if (!text && i == CDS_OPT_DB_URL) {
            strcpy(name, "DATABASE_URL");
            text = getenv(name);
        }
        if (!text)
            continue;
        snprintf(source, sizeof(source), "environment %s", name);
        cds_rc rc = set(config, i, text, source, reterr);
        if (rc)
            return rc;
    }
    return CDS_OK;
}

/* ---- file ---- */
struct file_state {
    struct cds_config *config;
    const char *path;
    struct cds_err *reterr;
    cds_rc rc;
};

static int on_ini(void *user, const char *section, const char *name, const char *text)
{
    struct file_state *state = user;
    char source[SOURCE_MAX];
    if (state->rc)
        return 0;
    ssize_t i = find(section, name);
    if (i < 0) {
        state->rc = cds_fail(state->reterr, CDS_BAD_PARAM, __func__,
                             "%s: there is no option %.64s.%.64s; `cyberdevstudio config check` lists them all.", state->path, section, name);
        return 0;
    }
    snprintf(source, sizeof(source), "file %s", state->path);
    state->rc = set(state->config, (size_t)i, text, source, state->reterr);
    return state->rc == CDS_OK;
}

static cds_rc from_file(struct cds_config *config, const char *path, bool must_exist, struct cds_err *reterr)
{
    if (access(path, R_OK)) {
        if (errno == ENOENT && !must_exist)
            return CDS_OK;
        return cds_fail_errno(reterr, errno, __func__, "Cannot read the configuration file %s.", path);
    }
    struct file_state state = {.config = config, .path = path, .reterr = reterr};
    int line = ini_parse(path, on_ini, &state);
    if (state.rc)
        return state.rc;
    if (line < 0)
        return cds_fail_errno(reterr, line == -2 ? ENOMEM : errno, __func__, "Cannot read the configuration file %s.", path); /* -2: inih's memory */
    if (line > 0)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%s line %d is neither [section] nor name = value.", path, line);
    return CDS_OK;
}

/* ---- flags ---- */
static void usage(const char *program, const char *about)
{
    printf("%s: %s\n\nOptions (flag, else environment, else file, else default):\n", program, about);
    printf("  --config=FILE              configuration file [$CDS_CONFIG, else <home>/studio.ini]\n");
    printf("  --help, --version\n");
    for (size_t i = 0; i < CDS_OPT_COUNT; i++) {
        const struct option *o = &options[i];
        char name[64];
        env_name(i, name);
        if (o->is_number)
            printf("  --%s.%s=N  (%s, %llu to %llu %s) [%llu]\n      %s\n", o->section, o->name, name, (unsigned long long)o->min,
                   (unsigned long long)o->max, o->unit, (unsigned long long)o->def, o->help);
        else
            printf("  --%s.%s=TEXT  (%s) [%s]\n      %s\n", o->section, o->name, name, o->def_str, o->help);
    }
}

/* Takes --section.name=VALUE out of argv and remembers it in flags (same order as options); leaves the rest. */
static cds_rc take_flags(int *argc, char **argv, const char *about, const char *flags[static CDS_OPT_COUNT], const char **ret_file,
                         struct cds_err *reterr)
{
    int kept = 1;
    bool only_rest = false;
    for (int i = 1; i < *argc; i++) {
        char *arg = argv[i];
        char *dot = strchr(arg, '.'), *equals = strchr(arg, '=');
        only_rest = only_rest || !strcmp(arg, "--");
        if (only_rest) {
            argv[kept++] = arg;
        } else if (!strcmp(arg, "--help")) {
            usage(program_invocation_short_name, about);
            exit(0);
        } else if (!strcmp(arg, "--version")) {
            printf("%s %s\n", program_invocation_short_name, CDS_VERSION);
            exit(0);
        } else if (cds_starts_with(arg, "--config=")) {
            *ret_file = arg + 9;
        } else if (cds_starts_with(arg, "--") && dot && equals && dot < equals) {
            char section[64], name[64];
            snprintf(section, sizeof(section), "%.*s", (int)(dot - arg - 2), arg + 2);
            snprintf(name, sizeof(name), "%.*s", (int)(equals - dot - 1), dot + 1);
            ssize_t found = find(section, name);
            if (found < 0)
                return cds_fail(reterr, CDS_BAD_PARAM, __func__, "There is no option %.80s; --help lists them all.", arg);
            flags[found] = equals + 1;
        } else {
            argv[kept++] = arg;
        }
    }
    *argc = kept;
    argv[kept] = NULL;
    return CDS_OK;
}

static cds_rc find_home(struct cds_config *config, struct cds_err *reterr)
{
    const char *set_home = cds_config_str(config, CDS_OPT_HOME);
    if (*set_home) {
        if (*set_home != '/')
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The data folder \"%.128s\" must be an absolute path (CDS_HOME).", set_home);
        snprintf(config->home, sizeof(config->home), "%s", set_home);
        return CDS_OK;
    }
    if (geteuid() == 0) {
        /* Below /root no other user could reach the database or the sockets. */
        strcpy(config->home, "/var/lib/cyberdevstudio");
        return CDS_OK;
    }
    const char *home = getenv("HOME");
    const struct passwd *pw = home && *home == '/' ? NULL : getpwuid(geteuid());
    if (pw)
        home = pw->pw_dir;
    if (!home || *home != '/')
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "There is no home folder; name the data folder with CDS_HOME.");
    snprintf(config->home, sizeof(config->home), "%.900s/.local/share/cyberdevstudio", home);
    return CDS_OK;
}

static cds_rc load(struct cds_config *config, int *argc, char **argv, const char *about, struct cds_err *reterr)
{
    const char *flags[CDS_OPT_COUNT] = {NULL}, *file = getenv("CDS_CONFIG");
    char fallback[VALUE_MAX + 16];
    cds_rc rc = take_flags(argc, argv, about, flags, &file, reterr);
    if (rc)
        return rc;
    set_defaults(config);
    /* The place of the default file depends on the home, and only flag and environment may name that one. */
    if ((rc = from_environment(config, reterr)))
        return rc;
    if (flags[CDS_OPT_HOME] && (rc = set(config, CDS_OPT_HOME, flags[CDS_OPT_HOME], "flag", reterr)))
        return rc;
    if ((rc = find_home(config, reterr)))
        return rc;
    snprintf(fallback, sizeof(fallback), "%s/studio.ini", config->home);
    if ((rc = from_file(config, file ? file : fallback, file != NULL, reterr)) || (rc = from_environment(config, reterr)))
        return rc;
    for (size_t i = 0; i < CDS_OPT_COUNT; i++)
        if (flags[i] && (rc = set(config, i, flags[i], "flag", reterr)))
            return rc;
    return find_home(config, reterr);
}

cds_rc cds_config_load(int *argc, char **argv, const char *about, struct cds_config **ret, struct cds_err *reterr)
{
    struct cds_config *config = calloc(1, sizeof(*config));
    if (!config)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    cds_rc rc = load(config, argc, argv, about, reterr);
    if (rc) {
        free(config);
        return rc;
    }
    *ret = config;
    return CDS_OK;
}

void cds_config_free(struct cds_config **config)
{
    free(*config);
    *config = NULL;
}

uint64_t cds_config_u64(const struct cds_config *config, enum cds_opt opt)
{
    return config->values[opt].number;
}

const char *cds_config_str(const struct cds_config *config, enum cds_opt opt)
{
    return config->values[opt].text;
}

bool cds_config_given(const struct cds_config *config, enum cds_opt opt)
{
    return strcmp(config->values[opt].source, "default") != 0;
}

const char *cds_config_home(const struct cds_config *config)
{
    return config->home;
}

char *cds_config_path(const struct cds_config *config, const char *tail, char *buf, size_t size)
{
    snprintf(buf, size, "%s/%s", config->home, tail);
    return buf;
}

char *cds_program_dir(char *buf, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(buf, '/');
    if (slash)
        *slash = '\0';
    else
        cds_strcpy(buf, size, ".");
    return buf;
}

void cds_config_print(const struct cds_config *config, FILE *out)
{
    fprintf(out, "data folder: %s\n", config->home);
    for (size_t i = 0; i < CDS_OPT_COUNT; i++) {
        const struct option *o = &options[i];
        const struct value *v = &config->values[i];
        /* A connection string may hold a password. */
        bool hide = i == CDS_OPT_DB_URL && v->text[0];
        fprintf(out, "%s.%s = %s%s%s  (%s)\n", o->section, o->name, hide ? "[set, not shown]" : v->text, *o->unit ? " " : "", o->unit, v->source);
    }
}

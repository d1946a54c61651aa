/* apps/cyberdevstudio/doctor.c: `doctor`: runs the checks and shows what they found. */
#include "apps/cyberdevstudio/doctor.h"

#include <string.h>

#include "apps/cyberdevstudio/parts.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

static const char *const verdict_words[] = {"works", "weak", "missing"};

void cds_found(struct cds_findings *all, const char *name, enum cds_verdict verdict, const char *remedy, const char *fmt, ...)
{
    if (all->count >= CDS_FINDINGS_MAX)
        return;
    struct cds_finding *finding = &all->list[all->count++];
    *finding = (struct cds_finding){.verdict = verdict};
    cds_strcpy(finding->name, sizeof(finding->name), name);
    cds_strcpy(finding->remedy, sizeof(finding->remedy), remedy);
    va_list args;
    va_start(args, fmt);
    vsnprintf(finding->text, sizeof(finding->text), fmt, args);
    va_end(args);
}

void cds_found_err(struct cds_findings *all, const char *name, const struct cds_err *err)
{
    cds_found(all, name, CDS_MISSING, err->hint, "%s", err->message);
}

/* Ways in which an engine can do it: each has a row of its own. */
static size_t tiers_of(const cds_json *engines, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < cds_json_size(engines); i++)
        count += cds_streq(cds_json_get_str(cds_json_at(engines, i), "name"), name);
    return count;
}

bool cds_found_engines(struct cds_findings *all, const char *probe_json, size_t len)
{
    CDS_JSON_AUTO probe = NULL;
    struct cds_err err;
    if (cds_json_parse(probe_json, len, &probe, &err) != CDS_OK)
        return false;
    const cds_json *engines = cds_json_get(probe, "engines");
    if (cds_json_size(engines) == 0)
        return false;
    for (size_t i = 0; i < cds_json_size(engines); i++) {
        const cds_json *engine = cds_json_at(engines, i);
        const char *name = cds_json_get_str(engine, "name"), *boundary = cds_json_get_str(engine, "boundary"),
                   *backend = cds_json_get_str(engine, "backend");
        const char *limits = cds_json_get_str(engine, "limits"), *reason = cds_json_get_str(engine, "reason"),
                   *remedy = cds_json_get_str(engine, "remedy");
        bool works = cds_json_true(cds_json_get(engine, "works"), false);
        char label[32];
        snprintf(label, sizeof(label), "engine %.20s", tiers_of(engines, name) > 1 && backend ? backend : name ? name : "?");
        if (works)
            cds_found(all, label, CDS_WORKS, "", "boundary %s, limits by %s%s%s", boundary ? boundary : "unknown", limits ? limits : "unknown",
                      reason && *reason ? ": " : "", reason ? reason : "");
        else
            /* The studio needs the process engine; the others are extras, and who asks for one is refused by name. */
            cds_found(all, label, cds_streq(name, "run") ? CDS_MISSING : CDS_WEAK,
                      remedy && *remedy ? remedy : "Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or start the studio as root.",
                      "%s", reason && *reason ? reason : "it did not start");
    }
    cds_json *interpreters = cds_json_get(probe, "interpreters");
    all->interpreters = interpreters ? cds_json_ref(interpreters) : NULL;
    return true;
}

void cds_found_language(struct cds_findings *all, const char *language, const char *package, const char *installed)
{
    const cds_json *said = cds_json_get(all->interpreters, language);
    const char *reason = cds_json_get_str(said, "reason");
    char name[32], remedy[128];
    snprintf(name, sizeof(name), "run %s", language);
    snprintf(remedy, sizeof(remedy), "Install it again: apt install --reinstall %s", package);
    if (!said)
        cds_found(all, name, CDS_WORKS, "", "%s", installed);
    else if (cds_json_true(cds_json_get(said, "works"), false))
        cds_found(all, name, CDS_WORKS, "", "%s, runs in the sandbox", installed);
    else
        cds_found(all, name, CDS_MISSING, remedy, "%s, but not in the sandbox: %s", installed, reason && *reason ? reason : "it printed nothing");
}

static void found_part(struct cds_findings *all, const cds_json *part, const char *log)
{
    const char *name = cds_json_get_str(part, "name"), *state = cds_json_get_str(part, "state"), *message = cds_json_get_str(part, "message");
    long long restarts = cds_json_get_i64(part, "restarts", 0);
    int64_t uptime_ms = cds_json_get_i64(part, "uptime_ms", 0);
    char label[32], remedy[300];
    snprintf(label, sizeof(label), "part %.20s", name ? name : "?");
    snprintf(remedy, sizeof(remedy), "Its lines in the log tell why: %.250s", log ? log : "logs/studio.jsonl");
    message = message && *message ? message : "no reason is known";
    if (cds_streq(state, "external"))
        cds_found(all, label, CDS_WORKS, "", "a server the studio does not run itself");
    else if (cds_streq(state, "ready") && restarts > 0 && uptime_ms < CDS_BACKOFF_RESET_MS)
        cds_found(all, label, CDS_WEAK, remedy, "ready for %lld s only, after %lld restarts", (long long)(uptime_ms / 1000), restarts);
    else if (cds_streq(state, "ready"))
        cds_found(all, label, CDS_WORKS, "", "ready, process %lld", (long long)cds_json_get_i64(part, "pid", 0));
    else if (cds_streq(state, "starting") && restarts == 0)
        cds_found(all, label, CDS_WEAK, "Wait a moment and ask again.", "is starting");
    else
        cds_found(all, label, CDS_MISSING, remedy, "%s after %lld restarts: %s", state ? state : "unknown", restarts, message);
}

bool cds_found_parts(struct cds_findings *all, const cds_json *status)
{
    const cds_json *parts = cds_json_get(status, "parts");
    for (size_t i = 0; i < cds_json_size(parts); i++)
        found_part(all, cds_json_at(parts, i), cds_json_get_str(status, "log"));
    return cds_json_size(parts) > 0;
}

static void print_json(const struct cds_findings *all)
{
    CDS_JSON_AUTO array = cds_json_array();
    for (int i = 0; i < all->count; i++) {
        const struct cds_finding *f = &all->list[i];
        cds_json_append(array, cds_json_pack("{s:s, s:s, s:s, s:s}", "name", f->name, "verdict", verdict_words[f->verdict], "text", f->text, "remedy",
                                             f->remedy));
    }
    CDS_JSON_AUTO object = cds_json_object();
    cds_json_set(object, "findings", cds_json_ref(array));
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(object, NULL);
    puts(text ? text : "{}");
}

enum cds_exit cds_cmd_doctor(const struct cds_command *cmd)
{
    static struct cds_findings all;
    static void (*const checks[])(const struct cds_config *, struct cds_findings *) = {cds_check_programs, cds_check_data_folder, cds_check_database,
                                                                                       cds_check_ports,    cds_check_model,       cds_check_page,
                                                                                       cds_check_sandbox,  cds_check_languages};
    struct cds_command rest = *cmd;
    bool json = cds_take_switch(&rest, "--json");
    int missing = 0;
    if (!cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    for (size_t i = 0; i < CDS_ARRAY_LEN(checks); i++) {
        int first = all.count;
        checks[i](cmd->config, &all);
        /* Told as they come: some checks start programs and take a moment. */
        for (int k = first; k < all.count; k++) {
            const struct cds_finding *f = &all.list[k];
            missing += f->verdict == CDS_MISSING;
            if (!json)
                printf("  %-8s %-18s %s\n%s%s%s", verdict_words[f->verdict], f->name, f->text, *f->remedy ? "                              -> " : "",
                       f->remedy, *f->remedy ? "\n" : "");
            fflush(stdout);
        }
    }
    cds_json_unref(all.interpreters);
    all.interpreters = NULL;
    if (json)
        print_json(&all);
    else
        printf(missing ? "\n%d of %d checks found something missing.\n" : "\nNothing is missing (%d missing, %d checks).\n", missing, all.count);
    return missing ? CDS_EXIT_FAILED : CDS_EXIT_OK;
}

/* apps/cyberdevstudio/doctor.c: `doctor`: runs the checks and shows what they found. */
#include "apps/cyberdevstudio/doctor.h"

#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

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
        const char *name = cds_json_get_str(engine, "name"), *boundary = cds_json_get_str(engine, "boundary");
        const char *limits = cds_json_get_str(engine, "limits"), *reason = cds_json_get_str(engine, "reason"),
                   *remedy = cds_json_get_str(engine, "remedy");
        bool works = cds_json_true(cds_json_get(engine, "works"), false);
        char label[32];
        snprintf(label, sizeof(label), "engine %.20s", name ? name : "?");
        if (works)
            cds_found(all, label, CDS_WORKS, "", "boundary %s, limits by %s%s%s", boundary ? boundary : "unknown", limits ? limits : "unknown",
                      reason && *reason ? ": " : "", reason ? reason : "");
        else
            /* The studio needs the process engine; the others are extras, and who asks for one is refused by name. */
            cds_found(all, label, cds_streq(name, "run") ? CDS_MISSING : CDS_WEAK,
                      remedy && *remedy ? remedy : "Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or start the studio as root.",
                      "%s", reason && *reason ? reason : "it did not start");
    }
    return true;
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
    if (json)
        print_json(&all);
    else
        printf(missing ? "\n%d of %d checks found something missing.\n" : "\nNothing is missing (%d missing, %d checks).\n", missing, all.count);
    return missing ? CDS_EXIT_FAILED : CDS_EXIT_OK;
}

/* apps/cyberdevstudio/ledger.c: `ledger verify`. */
#include "apps/cyberdevstudio/database.h"
#include "apps/cyberdevstudio/ledger_verify.h"
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/json/json.h"

struct asked {
    const char *answers; /**< the client's list, NULL: none; borrowed */
    struct cds_ledger_report report;
};

static cds_rc verify(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct asked *asked = user;
    cds_rc rc = cds_ledger_verify_answers(db, asked->answers, &asked->report, reterr);
    if (rc == CDS_INTERNAL)
        cds_err_hint(reterr, "Bring the schema up to date with \"cyberdevstudio migrate\", then try again.");
    return rc;
}

static void print_json(const struct cds_ledger_report *report)
{
    cds_json *checks = cds_json_array();
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++) {
        const struct cds_ledger_check *check = &report->checks[i];
        cds_json *object = cds_json_object();
        cds_json_set(object, "number", cds_json_int(check->number));
        cds_json_set(object, "name", cds_json_string(check->name));
        cds_json_set(object, "rule", cds_json_string(check->rule));
        cds_json_set(object, "skipped", cds_json_bool(check->skipped));
        cds_json_set(object, "broken", cds_json_int(check->broken));
        cds_json_set(object, "example", cds_json_string(check->example));
        cds_json_append(checks, object);
    }
    CDS_JSON_AUTO all = cds_json_object();
    cds_json_set(all, "ok", cds_json_bool(report->broken == 0));
    cds_json_set(all, "requests", cds_json_int(report->requests));
    cds_json_set(all, "open_requests", cds_json_int(report->open_requests));
    cds_json_set(all, "entries", cds_json_int(report->entries));
    cds_json_set(all, "tokens", cds_json_int(report->tokens));
    cds_json_set(all, "cost_micro", cds_json_int(report->cost_micro));
    cds_json_set(all, "checks", checks);
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(all, NULL);
    puts(text ? text : "{}");
}

void cds_ledger_print(const struct cds_ledger_report *report)
{
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++) {
        const struct cds_ledger_check *check = &report->checks[i];
        if (check->skipped)
            printf("  -       %2d %s (not asked: it needs --answers FILE)\n", check->number, check->rule);
        else if (check->broken == 0)
            printf("  fine    %2d %s\n", check->number, check->rule);
        else
            printf("  BROKEN  %2d %s %lld times (%s), e.g. %s\n", check->number, check->rule, (long long)check->broken, check->name, check->example);
    }
    printf("%lld requests (%lld open), %lld entries, %lld tokens, %lld micro-credits: %s\n", (long long)report->requests,
           (long long)report->open_requests, (long long)report->entries, (long long)report->tokens, (long long)report->cost_micro,
           report->broken ? "the ledger does NOT add up." : "the ledger adds up.");
}

enum cds_exit cds_cmd_ledger_verify(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    CDS_CLEANUP(cds_buf_free) struct cds_buf answers = cds_buf_init(CDS_LEDGER_ANSWERS_MAX);
    static struct asked asked;
    const char *file = NULL;
    struct cds_err err = {0};
    bool json = cds_take_switch(&rest, "--json");
    if (!cds_take_value(&rest, "--answers", &file) || !cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    if (file && cds_read_file(file, &answers, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    asked.answers = file ? answers.data ? answers.data : "" : NULL;
    if (cds_with_database(cmd, CDS_CLUSTER_THERE, verify, &asked, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    if (json)
        print_json(&asked.report);
    else
        cds_ledger_print(&asked.report);
    return asked.report.broken ? CDS_EXIT_FAILED : CDS_EXIT_OK;
}

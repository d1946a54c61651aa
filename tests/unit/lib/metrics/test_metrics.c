#include <unistd.h>

#include "lib/metrics/metrics.h"
#include "tests/support/test.h"

static const char *text(const enum cds_metric *always)
{
    static struct cds_buf buf;
    cds_buf_free(&buf);
    buf = cds_buf_init(1 << 20);
    assert_int_equal(cds_metrics_text(&buf, always), CDS_OK);
    return buf.data;
}

static void counters_rise_per_label(void **state)
{
    cds_metric_add(CDS_M_RPC_CALLS, "fs.write", 2);
    cds_metric_add(CDS_M_RPC_CALLS, "fs.write", 1);
    cds_metric_add(CDS_M_RPC_CALLS, "fs.read", 1);
    assert_int_equal(cds_metric_get(CDS_M_RPC_CALLS, "fs.write"), 3);
    assert_non_null(strstr(text(NULL), "cds_rpc_calls_total{method=\"fs.write\"} 3\n"));
    assert_non_null(strstr(text(NULL), "# TYPE cds_rpc_calls_total counter\n"));
}

static void series_are_bounded_and_the_rest_is_counted_as_other(void **state)
{
    for (int i = 0; i < 1000; i++) {
        char label[16];
        snprintf(label, sizeof(label), "c%d", i);
        cds_metric_add(CDS_M_RPC_ERRORS, label, 1);
    }
    const char *t = text(NULL);
    int lines = 0;
    for (const char *p = t; (p = strstr(p, "cds_rpc_errors_total{")); p++)
        lines++;
    assert_int_equal(lines, 33);
    assert_non_null(strstr(t, "cds_rpc_errors_total{code=\"other\"} 968\n"));
}

static void histograms_are_cumulative_and_end_in_infinity(void **state)
{
    cds_metric_us(CDS_M_LLM_TTFT, NULL, 10000);
    cds_metric_us(CDS_M_LLM_TTFT, NULL, 10001);
    cds_metric_us(CDS_M_LLM_TTFT, NULL, 1000000000);
    const char *t = text(NULL);
    assert_non_null(strstr(t, "cds_llm_time_to_first_token_seconds_bucket{le=\"0.01\"} 1\n"));
    assert_non_null(strstr(t, "cds_llm_time_to_first_token_seconds_bucket{le=\"0.02\"} 2\n"));
    assert_non_null(strstr(t, "cds_llm_time_to_first_token_seconds_bucket{le=\"81.92\"} 2\n"));
    assert_non_null(strstr(t, "cds_llm_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(t, "cds_llm_time_to_first_token_seconds_count 3\n"));
}

static void hostile_labels_are_escaped(void **state)
{
    cds_metric_add(CDS_M_LOGINS, "a\"b\\c\nd", 1);
    assert_non_null(strstr(text(NULL), "cds_auth_logins_total{outcome=\"a\\\"b\\\\c\\nd\"} 1\n"));
}

static void the_names_of_the_brief_are_there_before_the_first_request(void **state)
{
    static const enum cds_metric always[] = {CDS_M_LLM_REQUEST_COUNT, CDS_M_TOKEN_SPEND, CDS_M_SANDBOX_RUNTIME, CDS_M_COUNT};
    const char *t = text(always);
    assert_non_null(strstr(t, "\nllm_request_count{model=\"\"} 0\n"));
    assert_non_null(strstr(t, "\ntoken_spend{model=\"\"} 0\n"));
    assert_non_null(strstr(t, "\nsandbox_runtime{engine=\"\"} 0.000000\n"));
}

static void promtool_accepts_every_metric_of_the_catalogue(void **state)
{
    enum cds_metric all[CDS_M_COUNT + 1];
    for (int i = 0; i <= CDS_M_COUNT; i++)
        all[i] = (enum cds_metric)i;
    FILE *tool = popen("promtool check metrics 2>&1", "w");
    assert_non_null(tool);
    fputs(text(all), tool);
    assert_int_equal(pclose(tool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_rise_per_label),
        cmocka_unit_test(series_are_bounded_and_the_rest_is_counted_as_other),
        cmocka_unit_test(histograms_are_cumulative_and_end_in_infinity),
        cmocka_unit_test(hostile_labels_are_escaped),
        cmocka_unit_test(the_names_of_the_brief_are_there_before_the_first_request),
        cmocka_unit_test(promtool_accepts_every_metric_of_the_catalogue),
    };
    return RUN_ALL(tests);
}

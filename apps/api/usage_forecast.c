/* apps/api/usage_forecast.c: usage.forecast, usage.anomalies. The arithmetic is that of the functions in schema cds_ml
 * (database/migrations/0015_usage.sql); docs/adr/0072-usage-and-forecasts.md. */
#include "apps/api/message.h"
#include "apps/api/usage_range.h"

enum { ANOMALY_DAYS_MAX = 92 };

static const char forecast_sql[] =
    "SELECT json_build_object('period', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM'),"
    " 'resets_at', to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    " 'engine', f.engine, 'basis', f.basis, 'days', f.days, 'used_tokens', f.used, 'expected_tokens', f.expected, 'low_tokens', f.low,"
    " 'high_tokens', f.high, 'per_day_tokens', f.per_day) FROM cds_ml.month_forecast($1::uuid, now(), $2::boolean) f";

static const char anomalies_sql[] =
    "SELECT json_build_object('days', coalesce(json_agg(json_build_object('day', to_char(d.day, 'YYYY-MM-DD'), 'user_id', d.user_id, 'email', "
    "o.email,"
    " 'key_id', nullif(d.key_id, " USAGE_NO_KEY "), 'key_name', a.name, 'tokens', d.tokens, 'typical_tokens', d.typical, 'score', d.score)"
    " ORDER BY d.day DESC, d.score DESC), '[]')) FROM cds_ml.unusual_days($1::uuid, $2::date, $3::date, 200) d"
    " LEFT JOIN users o ON o.id = d.user_id LEFT JOIN api_keys a ON a.user_id = d.user_id AND a.id = d.key_id";

void usage_forecast(struct call *call)
{
    const char *user_id;
    if (!usage_whose(call, &user_id))
        return;
    const char *params[] = {user_id, cds_config_u64(call->api->config, CDS_OPT_ML_PGML) ? "true" : "false"};
    call_query(call, forecast_sql, 2, params, call_give);
}

void usage_anomalies(struct call *call)
{
    struct usage_range range;
    struct cds_err err;
    if (!usage_range_read(call, &range))
        return;
    if (usage_days(range.from, range.to) > ANOMALY_DAYS_MAX) {
        cds_fail(&err, CDS_BAD_PARAM, __func__, "These are more than 92 days.");
        cds_err_pointer(&err, "/params/to");
        cds_err_rule(&err, "usage.range");
        cds_err_hint(&err, "Ask for them in several calls.");
        call_fail(call, &err);
        return;
    }
    const char *params[] = {range.user_id, range.from, range.to};
    call_query(call, anomalies_sql, 3, params, call_give);
}

/* lib/metrics/metrics.h: counters in memory and their Prometheus text.
 *
 * Source:  lib/metrics/catalog.def; Prometheus text format 0.0.4. `promtool check metrics` accepts the output.
 * Threads: safe (atomics; label slots under a lock).
 * Limits:  at most 32 label values per metric; further ones are counted under "other", so series stay bounded.
 */
#pragma once

#include <stdint.h>

#include "lib/base/buf.h"

enum cds_metric {
#define CDS_METRIC(id, kind, name, label, help) CDS_M_##id,
#include "lib/metrics/catalog.def"
#undef CDS_METRIC
    CDS_M_COUNT
};

/** Adds to a counter (or moves a gauge up and down). label: NULL or "" for metrics without label. */
void cds_metric_add(enum cds_metric metric, const char *label, int64_t value);
/** Sets a gauge. */
void cds_metric_set(enum cds_metric metric, const char *label, int64_t value);
/** Adds a duration in microseconds to SECONDS, UNTYPED_SECONDS or HISTOGRAM metrics. */
void cds_metric_us(enum cds_metric metric, const char *label, uint64_t microseconds);
/** Current integer value (microseconds for seconds kinds), for tests and status pages. */
int64_t cds_metric_get(enum cds_metric metric, const char *label);
/** Appends the text of every metric that was touched, plus those named in always (CDS_M_COUNT ends the list), at zero. */
cds_rc cds_metrics_text(struct cds_buf *buf, const enum cds_metric *always);

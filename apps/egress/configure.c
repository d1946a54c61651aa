/* apps/egress/configure.c: the options. */
#include "apps/egress/egress.h"

cds_rc egress_configure(struct egress *egress, const struct cds_config *config, struct cds_err *reterr)
{
    cds_rc rc = cds_host_rules_parse(cds_config_str(config, CDS_OPT_EGRESS_HOSTS), egress->hosts, &egress->host_count, reterr);
    if (rc || (rc = egress_ranges_parse(cds_config_str(config, CDS_OPT_EGRESS_ADDRESSES), egress->ranges, &egress->range_count, reterr)))
        return rc;
    egress->per_job_max = (unsigned)cds_config_u64(config, CDS_OPT_EGRESS_PER_JOB);
    egress->connections_max = (unsigned)cds_config_u64(config, CDS_OPT_EGRESS_CONNECTIONS);
    return CDS_OK;
}

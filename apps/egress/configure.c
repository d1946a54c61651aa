/* apps/egress/configure.c: the options. */
#include "apps/egress/egress.h"

cds_rc egress_configure(struct egress *egress, const struct cds_config *config, struct cds_err *reterr)
{
    struct cds_err found;
    cds_rc rc = cds_host_rules_parse(cds_config_str(config, CDS_OPT_EGRESS_HOSTS), egress->hosts, &egress->host_count, &found);
    if (rc)
        return cds_fail(reterr, rc, __func__, "The option egress.hosts cannot be read: %s", found.message);
    if ((rc = egress_ranges_parse(cds_config_str(config, CDS_OPT_EGRESS_ADDRESSES), egress->ranges, &egress->range_count, reterr)))
        return rc;
    egress->per_job_max = (unsigned)cds_config_u64(config, CDS_OPT_EGRESS_PER_JOB);
    egress->connections_max = (unsigned)cds_config_u64(config, CDS_OPT_EGRESS_CONNECTIONS);
    return CDS_OK;
}

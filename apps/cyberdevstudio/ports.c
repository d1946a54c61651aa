/* apps/cyberdevstudio/ports.c: see ports.h. */
#include "apps/cyberdevstudio/ports.h"

#include <poll.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"

enum { RETRY_MS = 50 };

static const struct {
    enum cds_opt opt;
    const char *option;
    const char *what;
} ports[] = {
    {CDS_OPT_UI_PORT, "ui.port", "the page"},           {CDS_OPT_API_PORT, "api.port", "the JSON-RPC gateway"},
    {CDS_OPT_AUTH_PORT, "auth.port", "login"},          {CDS_OPT_PREVIEW_PORT, "preview.port", "previews of programs"},
    {CDS_OPT_LLM_PORT, "llm.port", "the model server"},
};

cds_rc cds_port_check(const char *address, uint16_t port, const char *option, const char *what, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    struct cds_err err = {0};
    cds_rc rc = cds_tcp_listen(address, port, &fd, &err);
    if (rc == CDS_OK)
        return CDS_OK;
    if (rc != CDS_CONFLICT) {
        if (reterr)
            *reterr = err;
        cds_err_hint(reterr, "Check studio.bind (%s) and %s (%u).", address, option, port);
        return rc;
    }
    cds_fail(reterr, CDS_CONFLICT, __func__, "Port %u (%s, %s) on %s is taken by another program.", port, option, what, address);
    cds_err_hint(reterr, "End that program, or choose another port with --%s=PORT.", option);
    return CDS_CONFLICT;
}

cds_rc cds_ports_check(const struct cds_config *config, uint64_t deadline_ms, struct cds_err *reterr)
{
    const char *address = cds_config_str(config, CDS_OPT_BIND);
    for (size_t i = 0; i < CDS_ARRAY_LEN(ports); i++)
        for (size_t j = 0; j < i; j++)
            if (cds_config_u64(config, ports[i].opt) == cds_config_u64(config, ports[j].opt)) {
                cds_fail(reterr, CDS_BAD_PARAM, __func__, "%s and %s are both port %u.", ports[j].option, ports[i].option,
                         (unsigned)cds_config_u64(config, ports[i].opt));
                cds_err_hint(reterr, "Give each its own port, e.g. --%s=PORT.", ports[i].option);
                return CDS_BAD_PARAM;
            }
    for (size_t i = 0; i < CDS_ARRAY_LEN(ports); i++) {
        cds_rc rc;
        do {
            rc = cds_port_check(address, (uint16_t)cds_config_u64(config, ports[i].opt), ports[i].option, ports[i].what, reterr);
            if (rc != CDS_CONFLICT || cds_ms_left(deadline_ms) == 0)
                break;
            poll(NULL, 0, RETRY_MS);
        } while (rc == CDS_CONFLICT);
        if (rc != CDS_OK)
            return rc;
    }
    return CDS_OK;
}

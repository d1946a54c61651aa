/* apps/cyberdevstudio/ports.h: are the TCP ports of the studio free? Asked before anything starts, so that the answer is one sentence.
 *
 * Threads: main thread only. It blocks until the deadline at most.
 */
#pragma once

#include <stdint.h>

#include "lib/config/config.h"

/**
 * Tries to listen on every port of the studio, again and again until deadline_ms (processes of a killed studio may still be ending).
 * @return CDS_OK; CDS_CONFLICT with a sentence that names port and option, and a hint with the remedy; CDS_BAD_PARAM (studio.bind, one port twice)
 */
CDS_MUST_USE cds_rc cds_ports_check(const struct cds_config *config, uint64_t deadline_ms, struct cds_err *reterr);
/** The same for one port, once. what: "the page", ... */
CDS_MUST_USE cds_rc cds_port_check(const char *address, uint16_t port, const char *option, const char *what, struct cds_err *reterr);

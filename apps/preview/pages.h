/* apps/preview/pages.h: what visitors are told when there is no program to show. German where the browser asks for it.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/preview/preview.h"

enum page {
    PAGE_NO_COOKIE, /**< 403: not opened from the studio in this browser */
    PAGE_TICKET,    /**< 403: used, expired or made up */
    PAGE_ORIGIN,    /**< 403: another page asks */
    PAGE_UNKNOWN,   /**< 404: no such preview */
    PAGE_RESERVED,  /**< 404: below /.cds */
    PAGE_JOB,       /**< 410: its program's terminal or run has ended */
    PAGE_CLOSED,    /**< 410 */
    PAGE_IDLE,      /**< 410 */
    PAGE_SESSION,   /**< 410: signed out, or the studio's page is closed */
    PAGE_TOO_LARGE, /**< 413 */
    PAGE_ADDRESS,   /**< 421: no address of a preview */
    PAGE_NO_ANSWER, /**< 502: nobody listens, or broke off */
    PAGE_BUSY,      /**< 503 */
    PAGE_LATE,      /**< 504 */
    PAGE_COUNT
};

/** Answers with the page; port is shown where it matters. */
void page_reply(struct cds_http_req *req, enum page page, unsigned port);
enum page page_of_end(enum preview_end why);

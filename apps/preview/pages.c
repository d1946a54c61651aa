/* apps/preview/pages.c: see pages.h. */
#include "apps/preview/pages.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/str.h"

struct words {
    const char *title, *text;
};

static const struct {
    int status;
    struct words en, de;
} pages[PAGE_COUNT] = {
    [PAGE_NO_COOKIE] = {403,
                        {"This preview is private",
                         "Only its owner may see it. Open it from the studio: \"Open preview\" in the terminal or beside the run."},
                        {"Diese Vorschau ist privat",
                         "Nur wer sie geöffnet hat, darf sie sehen. Öffnen Sie sie im Studio: „Vorschau öffnen“ im Terminal oder beim Lauf."}},
    [PAGE_TICKET] = {403,
                     {"This way in does not work any more", "It works once and for a short time. Choose \"Open preview\" in the studio again."},
                     {"Dieser Zugang gilt nicht mehr", "Er gilt einmal und für kurze Zeit. Wählen Sie im Studio noch einmal „Vorschau öffnen“."}},
    [PAGE_ORIGIN] = {403,
                     {"Another page may not do that here", "The request comes from another address than this preview's own."},
                     {"Eine andere Seite darf das hier nicht", "Die Anfrage kommt von einer anderen Adresse als der dieser Vorschau."}},
    [PAGE_UNKNOWN] = {404,
                      {"There is no such preview", "It may have ended when the studio was started again. Open it from the studio once more."},
                      {"Diese Vorschau gibt es nicht", "Vielleicht endete sie, als das Studio neu startete. Öffnen Sie sie im Studio noch einmal."}},
    [PAGE_RESERVED] = {404,
                       {"Nothing is here", "Addresses that begin with /.cds are the studio's own and never reach the program."},
                       {"Hier ist nichts", "Adressen, die mit /.cds beginnen, gehören dem Studio und erreichen das Programm nie."}},
    [PAGE_JOB] = {410,
                  {"The program has ended",
                   "Its terminal or run is over, and the preview with it. Start it again and open its preview from the studio."},
                  {"Das Programm ist beendet",
                   "Sein Terminal oder Lauf ist zu Ende und damit die Vorschau. Starten Sie es neu und öffnen Sie die Vorschau im Studio."}},
    [PAGE_CLOSED] = {410,
                     {"This preview was closed", "Open it from the studio once more if you still need it."},
                     {"Diese Vorschau wurde geschlossen", "Öffnen Sie sie im Studio noch einmal, wenn Sie sie brauchen."}},
    [PAGE_IDLE] = {410,
                   {"This preview ended because nobody looked", "The program may still run. Open its preview from the studio once more."},
                   {"Diese Vorschau endete, weil niemand hinsah",
                    "Das Programm läuft vielleicht noch. Öffnen Sie seine Vorschau im Studio noch einmal."}},
    [PAGE_SESSION] =
        {410,
         {"This preview ended with its sign-in", "Somebody signed out, or the studio's page was closed. Sign in and open the preview again."},
         {"Diese Vorschau endete mit der Anmeldung",
          "Jemand hat sich abgemeldet, oder die Seite des Studios wurde geschlossen. Melden Sie sich an und öffnen Sie die Vorschau neu."}},
    [PAGE_TOO_LARGE] = {413,
                        {"That is too much at once",
                         "The request is longer than previews accept. Send less, or ask an admin for preview.body_max_bytes."},
                        {"Das ist zu viel auf einmal",
                         "Die Anfrage ist länger, als Vorschauen erlauben. Senden Sie weniger, oder fragen Sie nach preview.body_max_bytes."}},
    [PAGE_ADDRESS] = {421,
                      {"No preview has this address", "Previews are opened from the studio."},
                      {"Keine Vorschau hat diese Adresse", "Vorschauen werden im Studio geöffnet."}},
    [PAGE_NO_ANSWER] = {502,
                        {"The program does not answer on port %u",
                         "It stopped listening, or broke off in the middle. Look at its output in the studio, then load this page again."},
                        {"Das Programm antwortet auf Port %u nicht",
                         "Es hört nicht mehr zu oder brach mittendrin ab. Sehen Sie sich seine Ausgabe im Studio an und laden Sie die Seite neu."}},
    [PAGE_BUSY] = {503,
                   {"All connections to port %u are taken", "Too many requests are open at once. Try again in a moment."},
                   {"Alle Verbindungen zu Port %u sind belegt", "Zu viele Anfragen sind zugleich offen. Versuchen Sie es gleich noch einmal."}},
    [PAGE_LATE] = {504,
                   {"The program on port %u took too long", "It did not answer in time. Look at its output in the studio."},
                   {"Das Programm auf Port %u brauchte zu lange", "Es antwortete nicht rechtzeitig. Sehen Sie sich seine Ausgabe im Studio an."}},
};

static const char head[] =
    "<!doctype html><html lang=\"%s\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>%s</title>"
    "<style>:root{color-scheme:light dark}body{font:1rem/1.6 system-ui,sans-serif;max-width:38rem;margin:14vh auto;padding:0 1.5rem}"
    "h1{font-size:1.35rem;line-height:1.3}p{opacity:.75}code{font-size:.85rem}</style><h1>%s</h1><p>%s</p><p><code>%d · %s</code></p></html>";

void page_reply(struct cds_http_req *req, enum page page, unsigned port)
{
    char title[200], text[2600];
    const char *language = cds_http_header(req, "Accept-Language");
    bool german = language && cds_starts_with(language, "de");
    const struct words *words = german ? &pages[page].de : &pages[page].en;
    const char *place = strstr(words->title, "%u");
    if (place)
        snprintf(title, sizeof(title), "%.*s%u%s", (int)(place - words->title), words->title, port, place + 2);
    else
        snprintf(title, sizeof(title), "%s", words->title);
    int len = snprintf(text, sizeof(text), head, german ? "de" : "en", title, title, words->text, pages[page].status, cds_http_request_id(req));
    cds_http_add_header(req, "Content-Security-Policy",
                        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    cds_http_add_header(req, "Cache-Control", "no-store");
    if (page == PAGE_BUSY)
        cds_http_add_header(req, "Retry-After", "1");
    cds_http_reply(req, pages[page].status, "text/html; charset=utf-8", text, (size_t)len);
}

enum page page_of_end(enum preview_end why)
{
    static const enum page of[END_COUNT] = {[END_JOB] = PAGE_JOB, [END_CLOSED] = PAGE_CLOSED, [END_IDLE] = PAGE_IDLE, [END_SESSION] = PAGE_SESSION};
    return of[why];
}

import { memo, useDeferredValue, useEffect, useState } from "react";
import { Button } from "@/components/ui/Button";
import { Empty } from "@/components/ui/Empty";
import { Icon } from "@/components/ui/Icon";
import { useStuckToEnd } from "@/components/ui/useStuckToEnd";
import { clock, integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { session, socketUrl } from "@/lib/studio";
import { openLogStream, type LogsConnection } from "../api/stream";
import { filtered, keptLines, levels, Lines, type Level, type LogLine } from "../model/lines";

/** Made per visit: the server shows the latest lines to a new reader. */
function useLines(): { lines: Lines; connection: LogsConnection } {
  const [lines] = useState(() => new Lines());
  const [connection, setConnection] = useState<LogsConnection>("connecting");
  useEffect(() => {
    const stream = openLogStream({
      url: socketUrl("/stream/logs"),
      token: (rejected) => session.freshToken(rejected),
      onFrame: (frame) => lines.add(frame),
      onState: setConnection,
    });
    return () => stream.close();
  }, [lines]);
  return { lines, connection };
}

export function LogsPage({ admin }: { admin: boolean }) {
  const { t, locale } = useText();
  const { lines, connection } = useLines();
  const state = useStore(lines.state);
  const [level, setLevel] = useState<Level>("debug");
  const [filter, setFilter] = useState("");
  const shown = filtered(state.lines, level, useDeferredValue(filter));
  const { ref } = useStuckToEnd(shown);
  const total = integer(state.lines.length, locale);
  return (
    <div className="flex h-full min-h-0 flex-col">
      <header className="flex flex-wrap items-center gap-x-4 gap-y-2 border-b border-line bg-panel px-4 py-2.5">
        <div className="mr-auto">
          <h1 className="heading text-xl">{t("logs.title")}</h1>
          <p className="text-[0.8125rem] text-muted">{t(admin ? "logs.lead" : "logs.lead.own")}</p>
        </div>
        <select aria-label={t("logs.level")} className="field w-auto" value={level} onChange={(event) => setLevel(event.target.value as Level)}>
          {levels.map((one) => (
            <option key={one} value={one}>
              {t(`logs.level.${one}`)}
            </option>
          ))}
        </select>
        <input type="search" aria-label={t("logs.filter")} placeholder={t("logs.filter")} className="field w-full sm:w-80" value={filter} onChange={(event) => setFilter(event.target.value)} />
        <Button icon={state.paused ? "play" : "pause"} aria-pressed={state.paused} onClick={() => (state.paused ? lines.resume() : lines.pause())}>
          {t(state.paused ? "logs.resume" : "logs.pause")}
        </Button>
        <Button icon="clear" onClick={() => lines.clear()}>
          {t("logs.clear")}
        </Button>
      </header>
      <div ref={ref} className="min-h-0 grow overflow-auto bg-panel/60" tabIndex={0} role="log" aria-live="off" aria-label={t("logs.list")}>
        {state.cut && <p className="px-4 py-1 text-xs text-muted">{t("logs.dropped", { count: integer(keptLines, locale) })}</p>}
        {shown.length > 0 ? (
          shown.map((line) => <Line key={line.seq} line={line} />)
        ) : (
          <Empty icon="logs" title={t("logs.title")} text={state.lines.length > 0 ? t("logs.noMatch", { total }) : t("logs.empty")} />
        )}
      </div>
      <div role="status" className="flex flex-wrap gap-x-4 border-t border-line bg-panel px-4 py-1 font-mono text-xs text-muted">
        <span className={connection === "open" ? "text-ok" : "text-warn"}>{t(`logs.state.${connection}`)}</span>
        <span>{t("logs.count", { shown: integer(shown.length, locale), total })}</span>
        {state.paused && <span className="text-warn">{t("logs.paused", { count: integer(state.held.length, locale) })}</span>}
      </div>
    </div>
  );
}

const colours: Record<Level, string> = { debug: "text-muted", info: "text-accent", warn: "text-warn", error: "text-danger" };

const Line = memo(function Line({ line }: { line: LogLine }) {
  const { locale } = useText();
  const [open, setOpen] = useState(false);
  return (
    <div className="border-b border-line/50 font-mono text-[0.8125rem] [contain-intrinsic-size:auto_26px] [content-visibility:auto]">
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="grid w-full grid-cols-[auto_3.2rem_1fr] gap-x-3 px-4 py-0.5 text-left -outline-offset-2 hover:bg-hover md:grid-cols-[auto_3.2rem_11rem_1fr]"
      >
        <span className="flex items-center gap-1 text-muted">
          <Icon name="chevron" size={10} className={`transition-transform ${open ? "rotate-90" : ""}`} />
          {line.time ? clock(line.time, locale) : "--:--:--"}
        </span>
        <span className={`font-semibold ${colours[line.level]}`}>{line.level}</span>
        <span className="hidden truncate text-muted md:block">{line.process}</span>
        <span className="truncate">
          {line.message} <span className="text-muted">{line.rest}</span>
        </span>
      </button>
      {open && <pre className="overflow-x-auto bg-raised px-10 py-2 text-xs">{JSON.stringify(line.raw, null, 2)}</pre>}
    </div>
  );
});

import { useCallback, useEffect, useRef, useState } from "react";
import { Button } from "@/components/ui/Button";
import { TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";
import { facts, wholeChain, type AuditLine } from "../model/audit";

/** The audit log: newest line first, by what an act begins with, and all of it as a file. */
export function AuditLog() {
  const { t } = useText();
  const [action, setAction] = useState("");
  const [lines, setLines] = useState<AuditLine[] | null>(null);
  const [next, setNext] = useState<number | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [exported, setExported] = useState<number | null>(null);
  const asked = useRef(0);

  const load = useCallback(
    (before?: number) => {
      const turn = ++asked.current;
      rpc.call("audit.list", { ...(action && { action }), ...(before && { before }) }).then(
        (answer) => {
          if (turn !== asked.current) return; // a newer question is on its way
          setLines((shown) => (before && shown ? [...shown, ...answer.lines] : answer.lines));
          setNext(answer.next_before);
          setFailure(null);
        },
        (error: unknown) => turn === asked.current && setFailure(toFailure(error)),
      );
    },
    [action],
  );
  useEffect(() => {
    const timer = setTimeout(() => load(), action ? 300 : 0);
    return () => clearTimeout(timer);
  }, [load, action]);

  const save = async () => {
    setExported(0);
    await wholeChain(setExported).then(
      (text) => {
        const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
        const link = Object.assign(document.createElement("a"), { href: url, download: "audit.jsonl" });
        link.click();
        URL.revokeObjectURL(url);
      },
      (error: unknown) => setFailure(toFailure(error)),
    );
    setExported(null);
  };

  return (
    <section className="grid grid-cols-[minmax(0,1fr)] gap-3" aria-labelledby="audit-title" data-testid="audit">
      <div className="flex flex-wrap items-center justify-between gap-4">
        <h2 id="audit-title" className="heading text-xl">
          {t("audit.title")}
        </h2>
        <span className="flex gap-2">
          <Button small icon="refresh" onClick={() => load()}>
            {t("account.refresh")}
          </Button>
          <Button small disabled={exported !== null} onClick={() => void save()}>
            {exported === null ? t("audit.export") : t("audit.exporting", { count: exported })}
          </Button>
        </span>
      </div>
      <p className="text-muted">{t("audit.lead")}</p>
      <TextField
        label={t("audit.action")}
        type="search"
        maxLength={64}
        placeholder={t("audit.action.example")}
        value={action}
        onChange={(event) => setAction(event.target.value.replace(/[^A-Za-z0-9_./ -]/g, ""))}
      />
      {failure && <Problem failure={failure} onRetry={() => load()} />}
      {!lines && !failure && <p className="text-muted">{t("common.loading")}</p>}
      {lines?.length === 0 && <p className="text-muted">{t("audit.none")}</p>}
      {lines && lines.length > 0 && (
        <ol className="grid grid-cols-[minmax(0,1fr)] gap-1">
          {lines.map((line) => (
            <Line key={line.seq} line={line} />
          ))}
        </ol>
      )}
      {next !== null && (
        <Button className="justify-self-center" onClick={() => load(next)}>
          {t("common.more")}
        </Button>
      )}
    </section>
  );
}

function Line({ line }: { line: AuditLine }) {
  const { t, locale } = useText();
  const who = line.actor
    ? (line.actor_name ?? t("audit.actor.gone"))
    : line.phase === "change"
      ? t("audit.actor.database", { source: line.source })
      : line.source === "command line"
        ? t("audit.actor.none")
        : line.source;
  return (
    <li className="surface grid gap-x-3 px-3 py-2 text-[0.8125rem] sm:grid-cols-[3.5rem_11rem_minmax(0,1fr)]" data-testid="audit-line">
      <span className="text-muted tabular-nums">{line.seq}</span>
      <time dateTime={line.at}>{moment(new Date(line.at), locale)}</time>
      <span className="min-w-0">
        <span className="flex flex-wrap items-baseline gap-x-2">
          <span className="font-mono break-all">{line.action}</span>
          <span className="text-muted">{t(`audit.phase.${line.phase}`)}</span>
          <span className="break-all">{who}</span>
          {line.actor_key && <span className="text-muted">{t("audit.key")}</span>}
        </span>
        <span className="block text-xs break-all text-muted" title={line.request_id ? t("audit.request", { id: line.request_id }) : undefined}>
          {facts(line.detail).join(" · ")}
        </span>
      </span>
    </li>
  );
}

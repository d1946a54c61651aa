import { useCallback, useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import { Button } from "@/components/ui/Button";
import { SelectField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { UsageForecastResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import { barsOf, daysOf, rangeOf, spans, viewerZone, wholeReport, type By, type Row, type Span, type Totals, type Unusual } from "../model/usage";
import { Chart } from "./Chart";
import { Export } from "./Export";
import { Forecast } from "./Forecast";
import { Report } from "./Report";

interface Shown {
  by: By;
  everybody: boolean;
  rows: Row[];
  totals: Totals;
  days: Row[];
  unusual: Unusual[];
  forecast: UsageForecastResult;
}

const report = (params: Parameters<typeof rpc.call<"usage.report">>[1]) => rpc.call("usage.report", params);

/** /usage: what was used, and what the month will have used. */
export function UsagePage({ admin }: { admin: boolean }) {
  const { t } = useText();
  const [everybody, setEverybody] = useState(false);
  const [span, setSpan] = useState<Span>("month");
  const [by, setBy] = useState<By>("day");
  const [now, setNow] = useState(() => new Date());
  const range = useMemo(() => rangeOf(span, now, viewerZone()), [span, now]);
  const [shown, setShown] = useState<Shown | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const asked = useRef(0);

  const load = useCallback(() => {
    const turn = ++asked.current;
    const whose = everybody ? { everybody } : {};
    const looked = daysOf(range).slice(-92);
    Promise.all([
      wholeReport(report, { by: "day", ...range, ...whose }),
      by === "day" ? null : wholeReport(report, { by, ...range, ...whose }),
      rpc.call("usage.anomalies", { from: looked[0] ?? range.from, to: range.to, ...whose }),
      rpc.call("usage.forecast", whose),
    ]).then(
      ([daily, other, { days: unusual }, forecast]) => {
        if (turn !== asked.current) return; // a newer question is on its way
        setShown({ by, everybody, ...(other ?? daily), days: daily.rows, unusual, forecast });
        setFailure(null);
      },
      (error: unknown) => turn === asked.current && setFailure(toFailure(error)),
    );
  }, [by, everybody, range]);
  useEffect(load, [load]);

  return (
    <div className="h-full overflow-auto">
      <div className="mx-auto grid max-w-6xl grid-cols-[minmax(0,1fr)] gap-5 px-4 py-6">
        <div className="flex items-center justify-between gap-4">
          <h1 className="heading text-2xl">{t("usage.title")}</h1>
          <Button small icon="refresh" onClick={() => setNow(new Date())}>
            {t("account.refresh")}
          </Button>
        </div>
        <div className="grid gap-4 sm:grid-cols-3">
          {admin && (
            <SelectField label={t("usage.whose")} value={everybody ? "all" : "mine"} onChange={(event) => setEverybody(event.target.value === "all")}>
              <option value="mine">{t("usage.whose.mine")}</option>
              <option value="all">{t("usage.whose.all")}</option>
            </SelectField>
          )}
          <SelectField label={t("usage.days")} value={String(span)} onChange={(event) => setSpan(spans.find((one) => String(one) === event.target.value) ?? "month")}>
            {spans.map((one) => (
              <option key={one} value={String(one)}>
                {one === "month" ? t("usage.days.month") : t("usage.days.last", { count: one })}
              </option>
            ))}
          </SelectField>
          <SelectField label={t("usage.by")} value={by} onChange={(event) => setBy(event.target.value as By)}>
            {(["day", "model", "key", ...(admin ? ["user"] : [])] as By[]).map((one) => (
              <option key={one} value={one}>
                {t(`usage.by.${one}`)}
              </option>
            ))}
          </SelectField>
        </div>
        {failure && <Problem failure={failure} onRetry={load} />}
        {!shown && !failure && <p className="text-muted">{t("common.loading")}</p>}
        {shown && (
          <div className="grid grid-cols-[minmax(0,1fr)] gap-5 xl:grid-cols-[minmax(0,1fr)_18rem]">
            <div className="grid min-w-0 grid-cols-[minmax(0,1fr)] content-start gap-5">
              <Card title={t("usage.chart")}>
                <Chart bars={barsOf(range, shown.days, shown.unusual)} />
                <p className="mt-2 text-[0.8125rem] text-muted">{t("usage.zone", { zone: range.time_zone })}</p>
              </Card>
              <Card title={t(`usage.by.${shown.by}`)}>
                {shown.rows.length === 0 ? <p className="text-muted">{t("usage.none")}</p> : <Report by={shown.by} rows={shown.rows} totals={shown.totals} everybody={shown.everybody} />}
              </Card>
            </div>
            <div className="grid min-w-0 grid-cols-[minmax(0,1fr)] content-start gap-5">
              <Card title={t("usage.forecast")}>
                <Forecast forecast={shown.forecast} />
              </Card>
              <Card title={t("usage.export")}>
                <Export range={range} everybody={everybody} />
              </Card>
              <Card title={t("usage.unusual")}>
                <UnusualDays days={shown.unusual} everybody={shown.everybody} />
              </Card>
            </div>
          </div>
        )}
      </div>
    </div>
  );
}

function Card({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="surface p-5">
      <h2 className="label mb-3 text-muted">{title}</h2>
      {children}
    </section>
  );
}

function UnusualDays({ days, everybody }: { days: Unusual[]; everybody: boolean }) {
  const { t, locale } = useText();
  return (
    <div className="grid gap-3">
      {days.length === 0 && <p>{t("usage.unusual.none")}</p>}
      <ul className="grid gap-2" aria-label={t("usage.unusual")}>
        {days.map((one) => (
          <li key={`${one.day} ${one.user_id} ${one.key_id ?? ""}`} className="rounded-small border border-line bg-raised px-3 py-2" data-testid="unusual">
            <span className="block font-semibold tabular-nums">
              <span aria-hidden="true" className="text-danger">
                !{" "}
              </span>
              {one.day}
            </span>
            <span className="block text-xs break-words text-muted">
              {one.key_id === null ? t("usage.session") : (one.key_name ?? t("usage.key.gone"))}
              {everybody && one.email ? ` · ${one.email}` : ""}
            </span>
            <span className="block text-[0.8125rem] tabular-nums">{t("usage.unusual.row", { tokens: integer(one.tokens, locale), typical: integer(one.typical_tokens, locale) })}</span>
          </li>
        ))}
      </ul>
      <p className="text-[0.8125rem] text-muted">{t("usage.unusual.hint")}</p>
    </div>
  );
}

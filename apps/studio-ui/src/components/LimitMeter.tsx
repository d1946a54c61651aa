import { credits, day, integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { BudgetSelfResult } from "@/lib/rpc/methods.gen";

export type Limit = BudgetSelfResult["policies"][number];

/** An amount in the unit of a limit. */
export function amount(limit: Pick<Limit, "unit">, value: number, locale: string): string {
  return limit.unit === "microcredits" ? credits(value, locale) : integer(value, locale);
}

/** What a limit is about, how far it is used, and until when it counts. */
export function LimitMeter({ limit }: { limit: Limit }) {
  const { t, locale } = useText();
  const most = limit.limit + limit.granted;
  const counts = limit.used + limit.held;
  const share = most > 0 ? Math.min(100, (counts / most) * 100) : 100;
  const name = limit.key_name ?? limit.email ?? "";
  const what = t(`limits.scope.${limit.scope}`, { name: name || t("limits.you"), model: limit.model ?? "" });
  const facts = [
    t("limits.left", { left: amount(limit, limit.remaining, locale), most: amount(limit, most, locale), unit: t(`limits.unit.${limit.unit}`) }),
    limit.granted !== 0 ? t(limit.granted > 0 ? "limits.given" : "limits.taken", { count: amount(limit, Math.abs(limit.granted), locale) }) : "",
    limit.held > 0 ? t("limits.held", { count: amount(limit, limit.held, locale) }) : "",
    limit.ends_at ? t("limits.until", { time: day(new Date(limit.ends_at), locale) }) : "",
  ];
  return (
    <div className="grid gap-1.5">
      <p className="flex flex-wrap items-baseline gap-x-2">
        <span className="font-semibold break-all">{what}</span>
        <span className="text-[0.8125rem] text-muted">
          {t(`limits.window.${limit.window}`)}
          {limit.window !== "lifetime" && limit.zone !== "UTC" && ` · ${limit.zone}`}
        </span>
        {limit.passed > 0 && (
          <span className={`text-[0.8125rem] ${limit.passed >= 95 ? "text-danger" : "text-warn"}`}>{t("limits.passed", { percent: limit.passed })}</span>
        )}
      </p>
      <div
        role="meter"
        aria-label={what}
        aria-valuemin={0}
        aria-valuemax={most}
        aria-valuenow={Math.min(counts, most)}
        aria-valuetext={facts[0]}
        className="h-2 overflow-hidden rounded-full border border-edge bg-bg"
      >
        <div className={`h-full ${share >= 95 ? "bg-danger" : share >= 80 ? "bg-warn" : "bg-accent"}`} style={{ width: `${share}%` }} />
      </div>
      <p className="text-xs break-words text-muted">{facts.filter(Boolean).join(" · ")}</p>
    </div>
  );
}

import { integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { UsageForecastResult } from "@/lib/rpc/methods.gen";

export function Forecast({ forecast }: { forecast: UsageForecastResult }) {
  const { t, locale } = useText();
  const n = (value: number) => integer(value, locale);
  const facts = [
    [t("usage.forecast.expected"), forecast.expected_tokens, true],
    [t("usage.forecast.used"), forecast.used_tokens, false],
    [t("usage.forecast.day"), forecast.per_day_tokens, false],
  ] as const;
  const sure = forecast.high_tokens === null ? t("usage.forecast.norange") : t("usage.forecast.range", { low: n(forecast.low_tokens), high: n(forecast.high_tokens) });
  return (
    <div data-testid="forecast">
      <dl className="grid gap-4">
        {facts.map(([name, value, strong]) => (
          <div key={name}>
            <dt className="text-[0.8125rem] text-muted">{name}</dt>
            <dd className={strong ? "heading text-2xl tabular-nums" : "text-base font-semibold tabular-nums"}>
              {n(value)} <span className="text-sm text-muted">{t("usage.tokens")}</span>
            </dd>
          </div>
        ))}
      </dl>
      <p className="mt-4 text-[0.8125rem] text-muted">
        {forecast.basis === "none" ? t("usage.forecast.none") : `${sure} ${t(`usage.forecast.${forecast.basis}`, { days: forecast.days })}`}
        {forecast.engine === "pgml" && ` ${t("usage.forecast.pgml")}`}
      </p>
    </div>
  );
}

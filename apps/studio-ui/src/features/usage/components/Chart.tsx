import { integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { Bar } from "../model/usage";

/** A bar per day. The same numbers stand in the table; here a day is told by its tooltip and name, and an unusual one by a mark above it as well. */
export function Chart({ bars }: { bars: Bar[] }) {
  const { t, locale } = useText();
  const most = Math.max(1, ...bars.map((bar) => bar.tokens));
  const say = (bar: Bar) => t(bar.unusual ? "usage.chart.unusual" : "usage.chart.bar", { day: bar.day, tokens: integer(bar.tokens, locale) });
  return (
    <figure className="grid gap-2" aria-label={t("usage.chart")}>
      <ol className="flex h-40 items-end gap-px border-b border-line" data-testid="chart">
        {bars.map((bar) => (
          <li key={bar.day} title={say(bar)} className="group flex h-full min-w-0 flex-1 flex-col items-center justify-end hover:bg-hover">
            <span className="sr-only">{say(bar)}</span>
            {bar.unusual && (
              <span aria-hidden="true" className="text-xs leading-none font-bold text-danger">
                !
              </span>
            )}
            <span
              aria-hidden="true"
              className={`w-full max-w-8 rounded-t-small ${bar.unusual ? "bg-danger" : "bg-accent"} ${bar.tokens > 0 ? "min-h-0.5" : ""}`}
              style={{ height: `${(bar.tokens / most) * 90}%` }}
            />
          </li>
        ))}
      </ol>
      <figcaption className="flex justify-between gap-4 text-[0.8125rem] text-muted tabular-nums">
        <span className="whitespace-nowrap">{bars[0]?.day}</span>
        <span>{t("usage.chart.most", { tokens: integer(Math.max(0, ...bars.map((bar) => bar.tokens)), locale) })}</span>
        <span className="whitespace-nowrap">{bars.at(-1)?.day}</span>
      </figcaption>
    </figure>
  );
}

import { Icon } from "@/components/ui/Icon";
import { bytes, milliseconds } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { Run } from "../model/runs";

/** How a run ended, in words; colour only repeats it. */
export function Verdict({ run }: { run: Run }) {
  const { t } = useText();
  const { result } = run;
  if (run.state !== "ended")
    return (
      <span className="inline-flex items-center gap-2 font-medium text-accent">
        <span className="breathe size-2 rounded-full bg-accent" />
        {t(run.state === "stopping" ? "run.stopping" : "run.running")}
      </span>
    );
  if (!result) return null;
  const good = result.end === "ok";
  const calm = good || result.end === "cancelled";
  return (
    <span className={`inline-flex items-center gap-2 font-medium ${good ? "text-ok" : calm ? "text-muted" : "text-danger"}`} data-testid="verdict">
      <Icon name={good ? "check" : calm ? "stop" : "alert"} />
      {t(`run.end.${result.end}`)}
      {result.exit_code !== null && <span className="font-mono text-[0.8125rem]">{t("run.exit", { code: result.exit_code })}</span>}
      {result.signal !== null && result.signal > 0 && <span className="font-mono text-[0.8125rem]">{t("run.signal", { number: result.signal })}</span>}
    </span>
  );
}

/** Time, CPU and memory beside their limits. */
export function Facts({ run }: { run: Run }) {
  const { t, locale } = useText();
  const { result } = run;
  if (!result) return null;
  const facts = [
    [t("run.fact.wall"), milliseconds(result.wall_ms, locale), milliseconds(result.limits.wall_ms, locale)],
    [t("run.fact.cpu"), milliseconds(result.cpu_ms, locale), milliseconds(result.limits.cpu_ms, locale)],
    [t("run.fact.memory"), bytes(result.peak_memory_bytes, locale), bytes(result.limits.memory_bytes, locale)],
  ] as const;
  return (
    <dl className="order-last flex basis-full flex-wrap gap-x-5 gap-y-1 pb-1 font-mono text-xs 2xl:order-none 2xl:basis-auto 2xl:pb-0" title={t("run.fact.enforced", { by: result.limits.enforced_by })}>
      {facts.map(([name, value, limit]) => (
        <div key={name} className="flex gap-1.5">
          <dt className="text-muted">{name}</dt>
          <dd>
            {value} <span className="text-muted">{t("run.fact.limit", { limit })}</span>
          </dd>
        </div>
      ))}
      {result.image && (
        <div className="flex gap-1.5">
          <dt className="text-muted">{t("run.fact.image")}</dt>
          <dd>{result.image}</dd>
        </div>
      )}
      {result.network === "allow-list" && (
        <div className="flex gap-1.5">
          <dt className="text-muted">{t("run.fact.network")}</dt>
          <dd>{t("run.fact.network.list")}</dd>
        </div>
      )}
    </dl>
  );
}

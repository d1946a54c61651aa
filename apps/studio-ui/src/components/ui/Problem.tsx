import { type ReactNode } from "react";
import type { Failure } from "@/lib/failure";
import { ruleKey, useText } from "@/lib/i18n/i18n";
import { Button } from "./Button";
import { CopyButton } from "./CopyButton";
import { Icon } from "./Icon";

/** What happened, why, what to do, and the request id to quote. */
export function Problem({ failure, onRetry, children, compact = false }: { failure: Failure; onRetry?: (() => void) | undefined; children?: ReactNode; compact?: boolean }) {
  const { t } = useText();
  const { detail, hint, rule, requestId, retryAfterMs } = failure.facts;
  const wait = retryAfterMs ? t("problem.wait", { seconds: Math.ceil(retryAfterMs / 1000) }) : undefined;
  const known = ruleKey(rule); // what the page has words for in both languages; the server's own are English
  return (
    <div role="alert" className={`rise grid gap-1.5 rounded-small border border-danger bg-panel ${compact ? "px-3 py-2" : "px-4 py-3"}`}>
      <p className="flex items-start gap-2 font-semibold">
        <Icon name="alert" className="mt-0.5 text-danger" />
        {t(`problem.${failure.name}`)}
      </p>
      {(known || detail) && <p className="break-words">{known ? t(known) : detail}</p>}
      {(!known || wait) && <p className="text-muted">{(known ? undefined : hint) ?? wait ?? t(`problem.do.${failure.name}`)}</p>}
      {(rule || requestId || onRetry || children) && (
        <div className="mt-1 flex flex-wrap items-center gap-x-4 gap-y-2">
          {onRetry && (
            <Button small icon="refresh" onClick={onRetry}>
              {t("common.retry")}
            </Button>
          )}
          {children}
          {rule && <span className="font-mono text-xs text-muted">{t("problem.rule", { rule })}</span>}
          {requestId && (
            <span className="flex min-w-0 items-center gap-1 font-mono text-xs text-muted">
              <span className="break-all">{t("problem.requestId", { id: requestId })}</span>
              <CopyButton text={requestId} name={t("problem.copyId")} />
            </span>
          )}
        </div>
      )}
    </div>
  );
}

import { memo } from "react";
import { useStuckToEnd } from "@/components/ui/useStuckToEnd";
import { Problem } from "@/components/ui/Problem";
import { bytes, integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { runs } from "../model";
import type { Segment } from "../model/output";
import type { Run } from "../model/runs";

const Piece = memo(function Piece({ segment }: { segment: Segment }) {
  const { t } = useText();
  if (segment.stream === "stdout") return <span>{segment.text}</span>;
  return (
    <span className="border-l-2 border-danger bg-danger/8 pl-1.5 text-danger [box-decoration-break:clone]">
      <span className="sr-only">{t("run.stream.stderr")}: </span>
      {segment.text}
    </span>
  );
});

/** What the run wrote, stderr told from stdout by more than colour. */
export function Output({ run }: { run: Run }) {
  const { t, locale } = useText();
  const { segments, cutChars } = run.output;
  const { ref } = useStuckToEnd(run.output);
  const dropped = run.result?.dropped_bytes ?? 0;
  return (
    <div ref={ref} className="h-full min-h-0 overflow-auto" tabIndex={0} role="region" aria-label={t("run.output")}>
      {cutChars > 0 && <p className="px-4 pt-2 text-xs text-muted">{t("run.output.cut", { count: integer(cutChars, locale) })}</p>}
      {segments.length > 0 ? (
        <pre className="px-4 py-3 font-mono text-[0.8125rem] leading-relaxed break-words whitespace-pre-wrap" data-testid="output">
          {segments.map((segment) => (
            <Piece key={segment.key} segment={segment} />
          ))}
        </pre>
      ) : (
        !run.failure && <p className="px-4 py-3 text-muted">{t(run.state === "ended" ? "run.output.none" : "run.output.waiting")}</p>
      )}
      {dropped > 0 && <p className="px-4 pb-2 text-xs text-warn">{t("run.output.dropped", { size: bytes(dropped, locale) })}</p>}
      {run.failure && (
        <div className="p-3">
          <Problem failure={run.failure} onRetry={() => runs.again(run)} compact />
        </div>
      )}
    </div>
  );
}

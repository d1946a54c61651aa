import { useState } from "react";
import { Button } from "@/components/ui/Button";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import type { UsageExportResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import { fileOf, type Range } from "../model/usage";

const LINES = 1000;

function save(name: string, type: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** All lines of the ledger in the shown time, as a file. */
export function Export({ range, everybody }: { range: Range; everybody: boolean }) {
  const { t } = useText();
  const [working, setWorking] = useState<number | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const run = async (format: "csv" | "json") => {
    const pages: UsageExportResult[] = [];
    setFailure(null);
    setWorking(0);
    try {
      for (let cursor: string | null = null; ; ) {
        const page: UsageExportResult = await rpc.call("usage.export", { format, ...range, everybody, limit: LINES, ...(cursor && { cursor }) });
        pages.push(page);
        cursor = page.next_cursor;
        if (!cursor) break;
        setWorking(pages.length * LINES);
      }
      save(`usage-${range.from}-${range.to}.${format}`, format === "csv" ? "text/csv" : "application/json", fileOf(format, pages, range));
    } catch (error) {
      setFailure(toFailure(error));
    }
    setWorking(null);
  };
  return (
    <div className="grid gap-3">
      <div className="flex flex-wrap items-center gap-2">
        {(["csv", "json"] as const).map((format) => (
          <Button key={format} small icon="download" disabled={working !== null} onClick={() => void run(format)}>
            {t(`usage.export.${format}`)}
          </Button>
        ))}
        <span role="status" className="text-[0.8125rem] text-muted">
          {working ? t("usage.export.working", { count: working }) : ""}
        </span>
      </div>
      <p className="text-[0.8125rem] text-muted">{t("usage.export.hint")}</p>
      {failure && <Problem failure={failure} compact />}
    </div>
  );
}

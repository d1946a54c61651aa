import { credits, integer } from "@/lib/format";
import { useText, type Translate } from "@/lib/i18n/i18n";
import { tokensOf, type By, type Row, type Totals } from "../model/usage";

function nameOf(by: By, row: Row, t: Translate, everybody: boolean): string {
  if (by === "day") return row.day ?? "";
  if (by === "model") return row.model ?? "";
  if (by === "user") return row.email ?? row.user_id ?? "";
  const key = row.key_id === null ? t("usage.session") : (row.key_name ?? t("usage.key.gone"));
  return everybody ? `${key} · ${row.email ?? row.user_id ?? ""}` : key;
}

/** The sums, and the sum of them as the server says it. */
export function Report({ by, rows, totals, everybody }: { by: By; rows: Row[]; totals: Totals; everybody: boolean }) {
  const { t, locale } = useText();
  const n = (value: number) => integer(value, locale);
  const numbers = (one: Totals) => [n(one.requests), n(one.prompt_tokens), n(one.cached_tokens), n(one.completion_tokens), n(tokensOf(one)), credits(one.cost_micro, locale)];
  const heads = [t("usage.requests"), t("usage.read"), t("usage.cached"), t("usage.written"), t("usage.tokens"), t("usage.cost")];
  const shown = by === "day" ? [...rows].reverse() : rows;
  return (
    <div className="-mx-2 max-h-[32rem] overflow-auto">
      <table className="w-full min-w-lg border-collapse tabular-nums" data-testid="report">
        <thead className="sticky top-0 bg-panel">
          <tr className="text-[0.8125rem] text-muted">
            <th scope="col" className="border-b border-line px-2 pb-1.5 text-left font-medium">
              {t(`usage.by.${by}`)}
            </th>
            {heads.map((head) => (
              <th key={head} scope="col" className="border-b border-line px-2 pb-1.5 text-right font-medium">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={[row.day, row.model, row.user_id, row.key_id].join(" ")} className="hover:bg-hover">
              <th scope="row" className="max-w-80 truncate border-b border-line/50 px-2 py-1.5 text-left font-normal" title={nameOf(by, row, t, everybody)}>
                {nameOf(by, row, t, everybody)}
              </th>
              {numbers(row).map((text, at) => (
                <td key={heads[at]} className="border-b border-line/50 px-2 py-1.5 text-right whitespace-nowrap">
                  {text}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
        <tfoot className="sticky bottom-0 bg-panel">
          <tr className="font-semibold" data-testid="sum">
            <th scope="row" className="px-2 pt-2 text-left">
              {t("usage.sum")}
            </th>
            {numbers(totals).map((text, at) => (
              <td key={heads[at]} className="px-2 pt-2 text-right whitespace-nowrap">
                {text}
              </td>
            ))}
          </tr>
        </tfoot>
      </table>
    </div>
  );
}

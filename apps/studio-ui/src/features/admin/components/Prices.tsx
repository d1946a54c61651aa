import { useCallback, useEffect, useState } from "react";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { credits, moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { PriceListResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import { useSubmit } from "@/lib/useSubmit";
import { plain, typed } from "../model/budgets";

type Price = PriceListResult["prices"][number];

/** What tokens cost: now, before, and from a moment to come on. */
export function Prices() {
  const { t, locale } = useText();
  const [prices, setPrices] = useState<Price[] | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [setting, setSetting] = useState<Price | "new" | null>(null);
  const load = useCallback(() => {
    rpc.call("price.list", {}).then(
      (answer) => {
        setPrices(answer.prices);
        setFailure(null);
      },
      (error: unknown) => setFailure(toFailure(error)),
    );
  }, []);
  useEffect(() => load(), [load]);
  const heads = ["account.model", "prices.input", "prices.cached", "prices.output", "prices.holds"] as const;
  return (
    <section className="grid grid-cols-[minmax(0,1fr)] gap-3" aria-labelledby="prices">
      <div className="flex flex-wrap items-center justify-between gap-4">
        <h2 id="prices" className="heading text-xl">
          {t("prices.title")}
        </h2>
        <Button small look="primary" icon="plus" onClick={() => setSetting("new")}>
          {t("prices.set")}
        </Button>
      </div>
      <p className="text-[0.8125rem] text-muted">{t("prices.hint")}</p>
      {failure && <Problem failure={failure} onRetry={load} />}
      {prices?.length === 0 && <p className="text-muted">{t("prices.none")}</p>}
      {prices && prices.length > 0 && (
        <div className="surface overflow-x-auto px-2 py-2">
          <table className="w-full min-w-md border-collapse tabular-nums" aria-labelledby="prices">
            <thead>
              <tr className="text-[0.8125rem] text-muted">
                {heads.map((head, at) => (
                  <th key={head} scope="col" className={`border-b border-line px-2 pb-1.5 font-medium ${at > 0 && at < 4 ? "text-right" : "text-left"}`}>
                    {t(head)}
                  </th>
                ))}
                <th className="border-b border-line" />
              </tr>
            </thead>
            <tbody>
              {prices.map((price) => (
                <tr key={`${price.model} ${price.valid_from}`} className={price.state === "now" ? "" : "text-muted"} data-testid="price">
                  <td className="border-b border-line/50 px-2 py-1.5 break-all">{price.model}</td>
                  <td className="border-b border-line/50 px-2 py-1.5 text-right">{credits(price.input, locale)}</td>
                  <td className="border-b border-line/50 px-2 py-1.5 text-right">{credits(price.cached, locale)}</td>
                  <td className="border-b border-line/50 px-2 py-1.5 text-right">{credits(price.output, locale)}</td>
                  <td className="border-b border-line/50 px-2 py-1.5">{holds(price, t, locale)}</td>
                  <td className="border-b border-line/50 px-2 py-1.5 text-right">
                    {price.state === "now" && (
                      <Button small onClick={() => setSetting(price)}>
                        {t("prices.change")}
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {setting !== null && (
        <PriceDialog
          price={setting === "new" ? null : setting}
          onClose={() => setSetting(null)}
          onDone={() => {
            setSetting(null);
            load();
          }}
        />
      )}
    </section>
  );
}

function holds(price: Price, t: ReturnType<typeof useText>["t"], locale: string): string {
  const from = price.valid_from ? t("prices.from", { time: moment(new Date(price.valid_from), locale) }) : t("prices.ever");
  return price.valid_to ? `${from} ${t("prices.to", { time: moment(new Date(price.valid_to), locale) })}` : from;
}

/** A price for a model; where it has one that is what is changed. */
function PriceDialog({ price, onClose, onDone }: { price: Price | null; onClose: () => void; onDone: () => void }) {
  const { t } = useText();
  const [name, setName] = useState(price?.model ?? "");
  const [texts, setTexts] = useState(() => {
    const text = (part: "input" | "cached" | "output") => (price ? plain(price[part], "microcredits") : "");
    return { input: text("input"), cached: text("cached"), output: text("output") };
  });
  const [from, setFrom] = useState("");
  const value = (part: keyof typeof texts) => {
    const number = typed(texts[part], "microcredits");
    return number !== null && number >= 0 ? number : null;
  };
  const input = value("input");
  const output = value("output");
  const cached = texts.cached === "" ? input : value("cached");
  const { working, failure, submit } = useSubmit(async () => {
    await rpc.call("price.set", {
      model: name.trim(),
      input: input ?? 0,
      cached: cached ?? 0,
      output: output ?? 0,
      ...(from && { valid_from: new Date(`${from}Z`).toISOString() }),
    });
    onDone();
  });
  const parts = ["input", "cached", "output"] as const;
  return (
    <Dialog title={t("prices.set")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <p className="text-[0.8125rem] text-muted">{t("prices.hint")}</p>
        <TextField label={t("account.model")} required maxLength={64} disabled={price !== null} value={name} onChange={(event) => setName(event.target.value)} />
        {parts.map((part) => (
          <TextField
            key={part}
            label={t(`prices.${part}`)}
            hint={part === "cached" ? t("prices.cached.hint") : undefined}
            error={texts[part] !== "" && value(part) === null ? t("limits.number.credits") : undefined}
            inputMode="decimal"
            required={part !== "cached"}
            value={texts[part]}
            onChange={(event) => setTexts({ ...texts, [part]: event.target.value })}
          />
        ))}
        <TextField label={t("prices.valid")} hint={t("prices.valid.hint")} type="datetime-local" value={from} onChange={(event) => setFrom(event.target.value)} />
        {failure && <Problem failure={failure} compact />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.cancel")}</Button>
          <Button look="primary" type="submit" disabled={working || input === null || output === null || cached === null || name.trim() === ""}>
            {t("prices.set")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

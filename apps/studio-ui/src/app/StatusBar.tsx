import { integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { rpc } from "@/lib/studio";
import { models, usage, type Model } from "@/lib/workspace";

/** The model a chat would use: a loaded one, else one that is on its way. */
function leading(list: Model[]): Model | undefined {
  const order: Model["state"][] = ["loaded", "loading", "failed", "unloaded"];
  return order.map((state) => list.find((model) => model.state === state)).find(Boolean);
}

export function StatusBar() {
  const { t, locale } = useText();
  const connection = useStore(rpc.state);
  const list = useStore(models);
  const summary = useStore(usage);
  const model = list ? leading(list) : undefined;
  const modelText = !list ? t("status.model.unknown") : model ? t(`status.model.${model.state}`, { model: model.id }) : t("status.model.none");
  const tokens = !summary
    ? t("status.tokens.unknown")
    : summary.remaining_tokens === null
      ? t("status.tokens.unlimited")
      : t("status.tokens", { left: integer(summary.remaining_tokens, locale) });
  const good = connection === "open";
  return (
    <footer className="bar flex min-h-7 flex-wrap items-center gap-x-5 border-t border-line px-3 font-mono text-xs text-muted">
      <span role="status" className={`flex items-center gap-2 ${good ? "text-ok" : "text-warn"}`} data-testid="connection">
        <span className={`size-2 rounded-full bg-current ${good ? "lit" : "breathe"}`} />
        {t(`status.connection.${connection}`)}
      </span>
      <span className="min-w-0 truncate" data-testid="model-state">
        {modelText}
      </span>
      <span className="ml-auto whitespace-nowrap" data-testid="tokens-left">
        {tokens}
      </span>
    </footer>
  );
}

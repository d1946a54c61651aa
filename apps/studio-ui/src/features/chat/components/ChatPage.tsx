import { useEffect, useRef, type KeyboardEvent } from "react";
import { Button } from "@/components/ui/Button";
import { Empty } from "@/components/ui/Empty";
import { useStuckToEnd } from "@/components/ui/useStuckToEnd";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { loadModels, mayDevelop, models } from "@/lib/workspace";
import { changeOptions, chat, draft, lengths, options } from "../model";
import { isOpen } from "../model/thread";
import { Announcer, Jump, Messages } from "./Messages";

export function ChatPage() {
  const { t } = useText();
  const thread = useStore(chat.thread);
  const { ref, stuck, jump } = useStuckToEnd(thread);
  useEffect(() => void loadModels(), []);
  return (
    <div className="flex h-full min-h-0 flex-col">
      <h1 className="sr-only">{t("chat.title")}</h1>
      <div className="relative min-h-0 grow">
        <div ref={ref} className="h-full overflow-auto" role="log" aria-live="off" aria-label={t("chat.log")} tabIndex={0}>
          {thread.length === 0 ? <Start /> : <Messages thread={thread} />}
        </div>
        {!stuck && thread.length > 0 && <Jump onJump={jump} />}
      </div>
      <Composer onSend={jump} />
      <Announcer thread={thread} />
    </div>
  );
}

function Start() {
  const { t } = useText();
  return (
    <Empty icon="spark" title={t("chat.empty.title")} text={t("chat.empty.text")}>
      <div className="mt-2 grid justify-items-stretch gap-2">
        {([1, 2, 3] as const).map((n) => (
          <Button key={n} disabled={!mayDevelop()} className="whitespace-normal" onClick={() => void chat.send(t(`chat.example.${n}`), options.get())}>
            {t(`chat.example.${n}`)}
          </Button>
        ))}
      </div>
    </Empty>
  );
}

function Composer({ onSend }: { onSend: () => void }) {
  const { t } = useText();
  const thread = useStore(chat.thread);
  const text = useStore(draft);
  const box = useRef<HTMLTextAreaElement>(null);
  const busy = thread.find((message) => message.role === "assistant" && isOpen(message));

  useEffect(() => {
    const area = box.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, 220)}px`;
  }, [text]);

  const send = () => {
    if (busy || text.trim() === "" || !mayDevelop()) return;
    draft.set("");
    onSend();
    void chat.send(text, options.get());
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };

  return (
    <div className="border-t border-line bg-panel/80 px-4 py-3">
      <div className="mx-auto grid max-w-3xl gap-2">
        <div className="flex items-end gap-2">
          <textarea
            ref={box}
            rows={1}
            autoFocus
            maxLength={400000}
            aria-label={t("chat.input")}
            placeholder={t("chat.placeholder")}
            value={text}
            disabled={!mayDevelop()}
            onChange={(event) => draft.set(event.target.value)}
            onKeyDown={onKeyDown}
            className="field min-h-11 resize-none py-2.5"
          />
          {busy ? (
            <Button look="danger" icon="stop" className="min-h-11" onClick={() => chat.stop()}>
              {t("chat.stop")}
            </Button>
          ) : (
            <Button look="primary" icon="send" className="min-h-11" disabled={text.trim() === "" || !mayDevelop()} onClick={send}>
              {t("chat.send")}
            </Button>
          )}
        </div>
        <Settings empty={thread.length === 0} />
      </div>
    </div>
  );
}

function Settings({ empty }: { empty: boolean }) {
  const { t } = useText();
  const list = useStore(models);
  const now = useStore(options);
  const small = "field w-auto min-h-7 py-0.5 text-[0.8125rem]";
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-2 text-[0.8125rem] text-muted">
      <label className="flex items-center gap-2">
        {t("chat.model")}
        <select className={small} value={now.model ?? ""} onChange={(event) => changeOptions({ model: event.target.value || null })}>
          <option value="">{t("chat.model.auto")}</option>
          {(list ?? []).map((model) => (
            <option key={model.id} value={model.id}>
              {model.state === "loaded" ? model.id : t("chat.model.unloaded", { model: model.id })}
            </option>
          ))}
        </select>
      </label>
      <label className="flex items-center gap-2">
        {t("chat.length")}
        <select className={small} value={now.maxTokens} onChange={(event) => changeOptions({ maxTokens: Number(event.target.value) })}>
          {lengths.map((count) => (
            <option key={count} value={count}>
              {t("chat.length.tokens", { count })}
            </option>
          ))}
        </select>
      </label>
      <Button small look="quiet" icon="plus" className="ml-auto" disabled={empty} onClick={() => chat.clear()}>
        {t("chat.new")}
      </Button>
    </div>
  );
}

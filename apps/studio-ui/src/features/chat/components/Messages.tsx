import { memo, useEffect, useState } from "react";
import { Mark } from "@/components/Brand";
import { Button } from "@/components/ui/Button";
import { CopyButton } from "@/components/ui/CopyButton";
import { Icon } from "@/components/ui/Icon";
import { Problem } from "@/components/ui/Problem";
import { credits, integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { chat, options } from "../model";
import type { Answer, Message, Thread } from "../model/thread";
import { Markdown } from "./Markdown";

/** Tokens and cost of one answer, and how it ended when that was not by itself. */
function Foot({ answer }: { answer: Answer }) {
  const { t, locale } = useText();
  const { result, state } = answer;
  if (!result && state !== "stopped") return null;
  const usage = result?.usage;
  return (
    <footer className="flex flex-wrap items-center gap-x-3 gap-y-1 font-mono text-xs text-muted">
      {state === "stopped" && <span className="text-warn">{t("chat.stopped")}</span>}
      {result?.finish_reason === "length" && <span className="text-warn">{t("chat.cut")}</span>}
      {usage && (
        <span data-testid="usage">
          {t("chat.usage", {
            prompt: integer(usage.prompt_tokens, locale),
            completion: integer(usage.completion_tokens, locale),
            total: integer(usage.total_tokens, locale),
          })}
        </span>
      )}
      {result && <span data-testid="cost">{t("chat.cost", { credits: credits(result.cost_micro, locale) })}</span>}
      {answer.content && <CopyButton text={answer.content} />}
    </footer>
  );
}

const One = memo(function One({ message }: { message: Message }) {
  const { t } = useText();
  if (message.role === "user")
    return (
      <article aria-label={t("chat.you")} className="flex justify-end [contain-intrinsic-size:auto_80px] [content-visibility:auto]">
        <p className="max-w-[85%] rounded-base border border-line bg-selected px-4 py-2.5 break-words whitespace-pre-wrap">{message.content}</p>
      </article>
    );
  const { state, failure } = message;
  return (
    <article aria-label={message.model ?? t("chat.model")} aria-busy={state === "streaming"} className="grid grid-cols-[2rem_minmax(0,1fr)] gap-3">
      <span className={state === "streaming" || state === "waiting" ? "breathe" : ""}>
        <Mark size={30} />
      </span>
      <div className="grid min-w-0 grid-cols-[minmax(0,1fr)] gap-2.5 pt-1">
        {message.content && <Markdown text={message.content} />}
        {state === "waiting" && <p className="breathe text-muted">{t("chat.thinking")}</p>}
        {state === "stopping" && <p className="text-muted">{t("run.stopping")}</p>}
        {failure && (
          <Problem failure={failure}>
            <Button small icon="refresh" onClick={() => chat.again(message.id, options.get())}>
              {t("chat.retry")}
            </Button>
            {failure.name === "CONTEXT_LENGTH" && (
              <Button small icon="plus" onClick={() => chat.clear()}>
                {t("chat.new")}
              </Button>
            )}
          </Problem>
        )}
        <Foot answer={message} />
      </div>
    </article>
  );
});

export function Messages({ thread }: { thread: Thread }) {
  return (
    <div className="mx-auto grid max-w-3xl grid-cols-[minmax(0,1fr)] gap-6 px-4 py-6">
      {thread.map((message) => (
        <One key={`${message.role}${message.id}`} message={message} />
      ))}
    </div>
  );
}

/** Tells a screen reader when an answer is complete, instead of reading every piece. */
export function Announcer({ thread }: { thread: Thread }) {
  const { t } = useText();
  const last = thread[thread.length - 1];
  const [said, setSaid] = useState("");
  const state = last?.role === "assistant" ? last.state : "";
  const total = last?.role === "assistant" ? last.result?.usage.total_tokens : undefined;
  useEffect(() => {
    if (state === "waiting") setSaid(t("chat.thinking"));
    else if (state === "stopped") setSaid(t("chat.stopped"));
    else if (state === "done") setSaid(t("chat.announce.done", { total: total ?? 0 }));
  }, [state, total, t]);
  return (
    <span role="status" className="sr-only">
      {said}
    </span>
  );
}

export function Jump({ onJump }: { onJump: () => void }) {
  const { t } = useText();
  return (
    <button
      type="button"
      onClick={onJump}
      className="surface absolute bottom-3 left-1/2 flex min-h-8 -translate-x-1/2 items-center gap-2 px-3 text-[0.8125rem] shadow-base hover:text-accent"
    >
      <Icon name="down" size={14} />
      {t("chat.jump")}
    </button>
  );
}

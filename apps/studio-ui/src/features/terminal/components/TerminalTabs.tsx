import type { KeyboardEvent, Ref } from "react";
import { IconButton } from "@/components/ui/Button";
import { clock } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { terminals } from "../model";
import type { Session } from "../model/session";

export const panelId = "terminal-panel";

/** The terminals as tabs: arrow keys walk, Delete closes. */
export function TerminalTabs({ ref, list, shown, close }: { ref: Ref<HTMLDivElement>; list: readonly Session[]; shown: string | null; close: (id: string) => void }) {
  const { t } = useText();
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) => {
    const at = list.findIndex((one) => one.facts.id === shown);
    const to = { ArrowRight: (at + 1) % list.length, ArrowLeft: (at + list.length - 1) % list.length, Home: 0, End: list.length - 1 }[event.key];
    if (event.key === "Delete" && shown) close(shown);
    else if (to !== undefined && list[to]) {
      terminals.show(list[to].facts.id);
      event.currentTarget.querySelectorAll<HTMLElement>('[role="tab"]')[to]?.focus();
    } else return;
    event.preventDefault();
  };
  if (list.length === 0) return null;
  return (
    <div ref={ref} role="tablist" aria-label={t("term.tabs")} className="flex min-w-0 flex-wrap gap-1" onKeyDown={onKeyDown}>
      {list.map((session, index) => (
        <Tab key={session.facts.id} session={session} number={index + 1} chosen={session.facts.id === shown} close={close} />
      ))}
    </div>
  );
}

const dots = { connecting: "bg-warn breathe", live: "bg-ok", away: "bg-warn breathe", ended: "bg-muted", failed: "bg-danger" } as const;

function Tab({ session, number, chosen, close }: { session: Session; number: number; chosen: boolean; close: (id: string) => void }) {
  const { t, locale } = useText();
  const { state } = useStore(session.view);
  const { id, program, openedAt } = session.facts;
  const name = t("term.tab", { number, program: t(`term.program.${program}`) });
  return (
    <span role="presentation" className={`flex items-center rounded-small border ${chosen ? "border-accent bg-selected" : "border-line hover:bg-hover"}`}>
      <button
        type="button"
        role="tab"
        aria-selected={chosen}
        aria-controls={panelId}
        tabIndex={chosen ? 0 : -1}
        title={t("term.opened", { time: clock(new Date(openedAt), locale) })}
        className="flex min-h-8 items-center gap-2 px-2.5 text-[0.8125rem]"
        onClick={() => terminals.show(id)}
      >
        <span aria-hidden="true" className={`size-2 rounded-full ${dots[state]}`} />
        {name}
        <span className="sr-only">{t(`term.state.${state}`)}</span>
      </button>
      <IconButton name={t("term.close", { name })} icon="close" tabIndex={chosen ? 0 : -1} onClick={() => close(id)} />
    </span>
  );
}

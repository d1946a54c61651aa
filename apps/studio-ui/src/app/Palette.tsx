import { useState, type KeyboardEvent } from "react";
import { Dialog } from "@/components/ui/Dialog";
import { language, setLanguage, useText } from "@/lib/i18n/i18n";
import { navigate, route } from "@/lib/router";
import { useStore } from "@/lib/store";
import { otherTheme, setTheme, theme } from "@/lib/themes/themes";
import { areasOf } from "./areas";
import { codeActions } from "./actions";

interface Command {
  name: string;
  key?: string;
  act(): void;
}

function useCommands(role: string, signOut: () => void): Command[] {
  const { t } = useText();
  const next = otherTheme(useStore(theme));
  const onCode = useStore(route) === "/code";
  return [
    ...areasOf(role).map((area) => ({ name: t("app.command.open", { name: t(area.label) }), key: `Alt+${area.digit}`, act: () => navigate(area.route) })),
    { name: t("app.command.open", { name: t("app.account") }), key: "Alt+5", act: () => navigate("/account") },
    ...(onCode
      ? [
          { name: t("app.command.save"), key: "Ctrl+S", act: () => codeActions.save() },
          { name: t("app.command.run"), key: "Ctrl+Enter", act: () => codeActions.run() },
        ]
      : []),
    { name: t("app.command.theme", { name: next }), act: () => setTheme(next) },
    { name: t("app.command.language"), act: () => setLanguage(language.get() === "en" ? "de" : "en") },
    { name: t("app.command.signout"), act: signOut },
  ];
}

/** Every action with its key, found by typing. */
export function Palette({ role, onClose, signOut }: { role: string; onClose: () => void; signOut: () => void }) {
  const { t } = useText();
  const commands = useCommands(role, signOut);
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = commands.filter((command) => words.every((word) => command.name.toLowerCase().includes(word)));
  const chosen = Math.min(at, shown.length - 1);

  const act = (command: Command | undefined) => {
    if (!command) return;
    onClose();
    command.act();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") setAt(Math.min(chosen + 1, shown.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(chosen - 1, 0));
    else if (event.key === "Enter") act(shown[chosen]);
    else return;
    event.preventDefault();
  };

  return (
    <Dialog title={t("app.commands")} onClose={onClose}>
      <input
        role="combobox"
        aria-expanded="true"
        aria-controls="commands"
        aria-activedescendant={shown.length > 0 ? `command-${chosen}` : undefined}
        aria-label={t("app.commands.find")}
        placeholder={t("app.commands.find")}
        className="field"
        value={query}
        onChange={(event) => {
          setQuery(event.target.value);
          setAt(0);
        }}
        onKeyDown={onKeyDown}
      />
      <ul id="commands" role="listbox" aria-label={t("app.commands")} className="grid gap-0.5">
        {shown.map((command, index) => (
          <li
            key={command.name}
            id={`command-${index}`}
            role="option"
            aria-selected={index === chosen}
            onMouseMove={() => setAt(index)}
            onClick={() => act(command)}
            className="flex min-h-8 cursor-pointer items-center gap-4 rounded-small px-3 aria-selected:bg-selected"
          >
            <span className="grow">{command.name}</span>
            {command.key && <kbd className="rounded-small border border-line bg-raised px-1.5 font-mono text-xs text-muted">{command.key}</kbd>}
          </li>
        ))}
      </ul>
      {shown.length === 0 && <p className="text-muted">{t("app.commands.none", { query })}</p>}
    </Dialog>
  );
}
